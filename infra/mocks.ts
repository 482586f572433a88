/** Pulumi's engine, played: provider-computed outputs and look-ups. Names come from logical names, so every run gives the same graph. */
import { createHash } from "node:crypto";

export const region = "eu-central-1";
const account = "123456789012";

type Values = Readonly<Record<string, unknown>>;

const arn = (service: string, rest: string): string => `arn:aws:${service}:${region}:${account}:${rest}`;
const hash = (name: string) => createHash("sha256").update(name);

/** What the provider would answer for a created resource, as far as the program reads it back. */
export function computed(type: string, name: string): Values {
  const lower = name.toLowerCase();
  switch (type) {
    case "aws:sqs/queue:Queue":
      return { name, arn: arn("sqs", name), url: `https://sqs.${region}.amazonaws.com/${account}/${name}` };
    case "aws:s3/bucket:Bucket":
      return { bucket: lower, arn: `arn:aws:s3:::${lower}`, bucketDomainName: `${lower}.s3.amazonaws.com` };
    case "aws:kms/key:Key":
      return { keyId: name, arn: arn("kms", `key/${name}`) };
    case "aws:iam/role:Role":
      return { name, arn: `arn:aws:iam::${account}:role/${name}` };
    case "aws:lambda/function:Function":
      return {
        name,
        arn: arn("lambda", `function:${name}`),
        invokeArn: `arn:aws:apigateway:${region}:lambda:path/2015-03-31/functions/${arn("lambda", `function:${name}`)}/invocations`,
        qualifiedArn: arn("lambda", `function:${name}:1`),
        version: "1",
        lastModified: "0",
      };
    case "aws:apigatewayv2/api:Api":
      return {
        name,
        arn: arn("apigateway", name),
        apiEndpoint: `https://${lower}.execute-api.${region}.amazonaws.com`,
        executionArn: arn("execute-api", name),
      };
    case "aws:cloudwatch/logGroup:LogGroup":
      return { arn: arn("logs", `log-group:${name}`) };
    case "aws:scheduler/schedule:Schedule":
      return { name, arn: arn("scheduler", `schedule/default/${name}`) };
    case "random:index/randomBytes:RandomBytes":
      return { base64: hash(name).digest("base64"), hex: hash(name).digest("hex") };
    default:
      return { arn: arn(type.split(":")[1]?.split("/")[0] ?? "unknown", name) };
  }
}

interface Statement {
  readonly effect?: string;
  readonly actions?: readonly string[];
  readonly resources?: readonly string[];
  readonly principals?: readonly { readonly type: string; readonly identifiers: readonly string[] }[];
  readonly conditions?: readonly {
    readonly test: string;
    readonly variable: string;
    readonly values: readonly string[];
  }[];
}

const one = (values: readonly string[] | undefined) => (values?.length === 1 ? values[0] : values);

const written = ({ effect, actions, resources, principals, conditions }: Statement): Values => ({
  Effect: effect ?? "Allow",
  Action: one(actions),
  Resource: one(resources),
  ...(principals
    ? {
        Principal: principals.some(({ type }) => type === "*")
          ? "*"
          : Object.fromEntries(principals.map(({ type, identifiers }) => [type, one(identifiers)])),
      }
    : {}),
  ...(conditions
    ? { Condition: Object.fromEntries(conditions.map((c) => [c.test, { [c.variable]: one(c.values) }])) }
    : {}),
});

/** Answers a data source. */
export function lookup(token: string, inputs: Values): Values {
  switch (token) {
    case "aws:index/getRegion:getRegion":
      return { id: region, name: region, region, description: "" };
    case "aws:index/getPartition:getPartition":
      return { id: "aws", partition: "aws", dnsSuffix: "amazonaws.com" };
    case "aws:index/getCallerIdentity:getCallerIdentity":
      return { accountId: account, arn: `arn:aws:iam::${account}:root`, userId: account };
    case "aws:iam/getPolicyDocument:getPolicyDocument": {
      const statements = (inputs["statements"] ?? []) as readonly Statement[];
      const policy = {
        Version: "2012-10-17",
        ...(statements.length > 0 ? { Statement: statements.map(written) } : {}),
      };
      return { ...inputs, json: JSON.stringify(policy) };
    }
    default:
      return inputs;
  }
}

/** Pulumi hands secret values to the engine in an envelope with this mark. */
const secretMark = "4dabf18193072939515e22adb298388d";

export function unwrap(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(unwrap);
  if (value === null || typeof value !== "object") return value;
  if (secretMark in value) return unwrap((value as { readonly value?: unknown }).value);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, unwrap(part)]));
}
