/** Routes of golden records: people and companies as the intake has merged them. Invariant: read only; the intake writes. */
import * as companies from "@outrider/core/companies";
import * as people from "@outrider/core/people";
import * as z from "zod";
import { type Endpoint, endpoint, id, maybeText, page, text, time } from "./endpoint.ts";

const Person = z
  .object({
    id,
    email: text,
    name: maybeText,
    firstName: maybeText,
    lastName: maybeText,
    title: maybeText,
    companyId: id.nullable(),
    phone: maybeText,
    linkedinUrl: maybeText,
    location: maybeText,
    seniority: maybeText,
    department: maybeText,
    timeZone: maybeText,
    postalCode: maybeText,
    state: maybeText,
    country: maybeText,
    source: text,
    tags: z.unknown(),
    customFields: z.unknown(),
    loadId: id.nullable(),
    status: text,
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: "Person" });

const Company = z
  .object({
    id,
    domain: text,
    name: maybeText,
    industry: maybeText,
    employeeCount: z.int().nullable(),
    revenue: maybeText.describe("as text: more digits than a number keeps"),
    location: maybeText,
    linkedinUrl: maybeText,
    website: maybeText,
    status: text,
    createdAt: time,
    updatedAt: time,
  })
  .meta({ id: "Company" });

const Change = z
  .object({
    id,
    fields: z.unknown(),
    old: z.unknown(),
    new: z.unknown(),
    changedBy: maybeText,
    changedAt: time,
  })
  .meta({ id: "GoldenChange" });

export const goldenEndpoints: readonly Endpoint[] = [
  endpoint({
    method: "get",
    path: "/v1/people",
    tag: "Golden records",
    summary: "People, newest first",
    scope: "leads:read",
    input: people.list.schema,
    answer: page(Person),
    run: ({ ctx, input }) => people.list(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/people/{id}",
    tag: "Golden records",
    summary: "One person",
    scope: "leads:read",
    input: people.get.schema,
    answer: Person,
    run: ({ ctx, input }) => people.get(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/people/{id}/history",
    tag: "Golden records",
    summary: "Every change of a person, latest first",
    scope: "leads:read",
    input: people.history.schema,
    answer: page(Change),
    run: ({ ctx, input }) => people.history(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/companies",
    tag: "Golden records",
    summary: "Companies, newest first",
    scope: "leads:read",
    input: companies.list.schema,
    answer: page(Company),
    run: ({ ctx, input }) => companies.list(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/companies/{id}",
    tag: "Golden records",
    summary: "One company",
    scope: "leads:read",
    input: companies.get.schema,
    answer: Company,
    run: ({ ctx, input }) => companies.get(ctx, input),
  }),
  endpoint({
    method: "get",
    path: "/v1/companies/{id}/history",
    tag: "Golden records",
    summary: "Every change of a company, latest first",
    scope: "leads:read",
    input: companies.history.schema,
    answer: page(Change),
    run: ({ ctx, input }) => companies.history(ctx, input),
  }),
];
