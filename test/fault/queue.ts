/** SQS and S3 of the crash rig, in a process of their own: what a worker's death must not take with it. */
import { bucket, region, startAws } from "../../local/aws.ts";
import type { QueueAddresses } from "./processes.ts";

const aws = await startAws();
process.on("disconnect", () => process.exit(0));
const addresses: QueueAddresses = { endpoint: aws.endpoint, region, bucket, queues: aws.queues };
process.send?.(addresses);
