/**
 * The OpenAPI 3.1 document of the API, made from the endpoints and the zod schemas they parse with.
 *
 * Zod's own JSON Schema is used as it is (OpenAPI 3.1 speaks the same dialect), because it is the only converter that knows recursive
 * schemas such as segment filters and "any JSON". Invariant: whatever the server answers under `/v1` is in the document, and nothing else.
 */
import * as z from "zod";
import { type Endpoint, pathFields } from "./endpoint.ts";
import { takesQuery } from "./input.ts";

type Json = Record<string, unknown>;

/** RFC 9457, as `functions/lib/http.ts` writes it. */
const Problem = z
  .object({
    type: z.string().describe("urn:outrider:problem:<code>"),
    title: z.string(),
    status: z.int(),
    detail: z.string().describe("what is wrong and how to mend it"),
    code: z.string().describe("stable; see the error catalogue"),
    errors: z
      .array(
        z.object({
          path: z.string().describe("contacts[3].email"),
          value: z.unknown().optional().describe("what was sent"),
          message: z.string().describe("what would be accepted"),
        }),
      )
      .optional(),
    instance: z.string(),
    requestId: z.string().describe("quote it when you report a problem"),
  })
  .meta({ id: "Problem" });

export interface DocumentInfo {
  readonly serverUrl: string;
  readonly version: string;
}

export function openApiDocument(endpoints: readonly Endpoint[], { serverUrl, version }: DocumentInfo): Json {
  const schemas = new SchemaSet();
  const paths: Record<string, Json> = {};
  for (const endpoint of endpoints) {
    paths[endpoint.path] = { ...paths[endpoint.path], [endpoint.method]: operation(endpoint, schemas) };
  }
  schemas.of(Problem, "output");
  const problem = {
    description: "Refused, or failed. The body says why.",
    content: { "application/problem+json": { schema: { $ref: "#/components/schemas/Problem" } } },
  };
  return {
    openapi: "3.1.0",
    info: {
      title: "Outrider",
      version,
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
      description:
        "The REST API of one tenant. Unknown fields are refused. Lists are pages: ask for the next one with `cursor=<nextCursor>`. " +
        "A POST with an `Idempotency-Key` may be repeated for 48 hours: it has one effect and one answer.",
    },
    servers: [{ url: serverUrl }],
    security: [{ apiKey: [] }],
    tags: [...new Set(endpoints.map(({ tag }) => tag))].toSorted().map((name) => ({ name })),
    paths,
    components: {
      securitySchemes: {
        apiKey: {
          type: "http",
          scheme: "bearer",
          description: "An API key: `or_live_…`. What it may do are its scopes.",
        },
      },
      parameters: {
        IdempotencyKey: {
          name: "Idempotency-Key",
          in: "header",
          required: false,
          description: "The same key with the same request: one effect, one answer (`Idempotent-Replayed: true`).",
          schema: { type: "string", minLength: 1, maxLength: 255 },
        },
      },
      responses: { Problem: problem },
      schemas: schemas.all,
    },
  };
}

function operation(endpoint: Endpoint, schemas: SchemaSet): Json {
  const { properties, required, rest } = inputOf(endpoint, schemas);
  const inPath = pathFields(endpoint.path);
  const others = Object.keys(properties).filter((name) => !inPath.includes(name));
  const parameter = (name: string, where: "path" | "query"): Json => ({
    name,
    in: where,
    required: where === "path" || required.includes(name),
    ...parameterSchema(properties[name] ?? {}),
    ...(where === "query" && endpoint.example && name in endpoint.example ? { example: endpoint.example[name] } : {}),
  });
  const parameters: Json[] = inPath.map((name) => parameter(name, "path"));
  if (takesQuery(endpoint)) parameters.push(...others.map((name) => parameter(name, "query")));
  if (endpoint.method === "post") parameters.push({ $ref: "#/components/parameters/IdempotencyKey" });
  const body = requestBody(endpoint, {
    ...rest,
    properties: Object.fromEntries(others.map((name) => [name, properties[name] ?? {}])),
    required: required.filter((name) => !inPath.includes(name)),
  });
  return {
    operationId: operationId(endpoint),
    tags: [endpoint.tag],
    summary: endpoint.summary,
    description: `${endpoint.description ? `${endpoint.description}\n\n` : ""}Scope: \`${endpoint.scope}\`.`,
    ...(parameters.length > 0 ? { parameters } : {}),
    ...(body ? { requestBody: body } : {}),
    responses: {
      [endpoint.status ?? 200]: success(endpoint, schemas),
      default: { $ref: "#/components/responses/Problem" },
    },
    "x-required-scope": endpoint.scope,
  };
}

/** `post_v1_campaigns_campaignId_enroll`: what generated clients name their functions after. */
const operationId = ({ method, path }: Endpoint): string =>
  `${method}${path.replace(/^\/v1/, "").replaceAll(/[{}]/g, "").replaceAll(/[/-]/g, "_")}`;

function success(endpoint: Endpoint, schemas: SchemaSet): Json {
  if (endpoint.status === 204) return { description: "Done." };
  const type = endpoint.textType ?? "application/json";
  return { description: "Done.", content: { [type]: { schema: schemas.of(endpoint.answer, "output") } } };
}

function requestBody(endpoint: Endpoint, schema: Json): Json | undefined {
  if (endpoint.file) {
    const content = endpoint.file.contentTypes.map((type) => [type, { schema: { type: "string", format: "binary" } }]);
    return { required: true, content: Object.fromEntries(content) };
  }
  if (takesQuery(endpoint)) return undefined;
  const fields = Object.keys(schema["properties"] as object);
  if (fields.length === 0 && schema["additionalProperties"] === false) return undefined;
  const example = endpoint.example === undefined ? {} : { example: endpoint.example };
  return {
    required: (schema["required"] as string[]).length > 0,
    content: { "application/json": { schema, ...example } },
  };
}

interface InputShape {
  readonly properties: Readonly<Record<string, Json>>;
  readonly required: readonly string[];
  /** Of the object itself. */
  readonly rest: Json;
}

function inputOf(endpoint: Endpoint, schemas: SchemaSet): InputShape {
  const { properties, required, ...rest } = schemas.of(endpoint.documented ?? endpoint.input, "input");
  return {
    properties: (properties ?? {}) as Record<string, Json>,
    required: (required ?? []) as string[],
    rest: { type: "object", ...rest },
  };
}

/** Lists in a query are separated by commas, objects are JSON. */
function parameterSchema(schema: Json): Json {
  const { description, ...rest } = schema;
  const shown = description === undefined ? {} : { description };
  if (rest["type"] === "object") return { ...shown, content: { "application/json": { schema: rest } } };
  return { ...shown, schema: rest, ...(rest["type"] === "array" ? { style: "form", explode: false } : {}) };
}

/** Converts schemas and collects those with a name. */
class SchemaSet {
  readonly all: Record<string, Json> = {};

  /** A schema in its place; a reference when it has a name. */
  of(schema: z.ZodType, io: "input" | "output"): Json {
    const made = z.toJSONSchema(schema, {
      io,
      unrepresentable: "any",
      override: ({ zodSchema, jsonSchema }) => this.#refine(zodSchema, jsonSchema as Json, io),
    }) as Json;
    const { $schema: _, $defs, id: __, ...body } = made;
    const definitions = Object.entries(($defs ?? {}) as Record<string, Json>);
    // Parts without a name of their own are named by what they are, so that two of them never share one name.
    const names = new Map(definitions.map(([name, part]) => [name, this.#nameOf(name, part)]));
    const renamed = (value: Json): Json =>
      JSON.parse(
        JSON.stringify(value).replaceAll(
          /"#\/\$defs\/([^"]+)"/g,
          (_all, name: string) => `"#/components/schemas/${names.get(name) ?? name}"`,
        ),
      ) as Json;
    for (const [name, { id: ___, ...part }] of definitions) this.#add(names.get(name) ?? name, renamed(part));
    return renamed(body);
  }

  #nameOf(name: string, part: Json): string {
    if (!name.startsWith("__")) return name;
    const kinds = (part["anyOf"] as readonly Json[] | undefined)?.map(({ type }) => type) ?? [];
    if (kinds.includes("null") && kinds.includes("object")) return "Json";
    throw new Error(`a recursive schema needs a name: ${JSON.stringify(part).slice(0, 200)}`);
  }

  #add(name: string, schema: Json): void {
    const known = this.all[name];
    if (known && JSON.stringify(known) !== JSON.stringify(schema)) throw new Error(`two schemas are named ${name}`);
    this.all[name] = schema;
  }

  #refine(schema: unknown, made: Json, io: "input" | "output"): void {
    // What the API adds to the core's schemas: fields that nobody knows are refused.
    if (io === "input" && schema instanceof z.ZodObject && schema.def.catchall === undefined)
      made["additionalProperties"] = false;
    if (schema instanceof z.ZodDate) Object.assign(made, { type: "string", format: "date-time" });
    // A guard before a schema (`unknown` piped into it) says nothing; what it guards does.
    if (schema instanceof z.ZodPipe && schema.in instanceof z.ZodUnknown && schema.out instanceof z.ZodType) {
      Object.assign(made, this.of(schema.out, io));
    }
  }
}
