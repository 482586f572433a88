/**
 * Leads: a tenant's pursuit of people, with the contacts that are written to.
 * Invariant: a lead is soft-deleted, never removed, and every change of it is in its audit log (written by the table itself).
 */
export * from "./contacts.ts";
export * from "./fields.ts";
export * from "./leads.ts";
