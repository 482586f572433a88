/** Stored templates: versions that never change, problems by field, previews that tell what the gate would. */
import { expect, test } from "vitest";
import * as templates from "../../../core/templates/index.ts";
import { testDatabase } from "../../support/database.ts";
import { newTenant } from "../../support/tenant.ts";

const database = await testDatabase();
const intro = { name: "intro", subject: "Hello {{ contact.first_name }}", text: "Dear {{ contact.first_name }}" };

test("saving under the same name makes the next version and keeps the one before", async () => {
  const a = await newTenant(database);
  const first = await templates.create(a, intro);
  const again = await templates.create(a, intro);
  const second = await templates.create(a, { ...intro, text: "Dear {{ contact.first_name }}, again" });
  expect(first).toMatchObject({
    created: true,
    template: { version: 1, variables: ["contact.first_name"], supersededBy: null },
  });
  expect(again).toEqual({ ...first, created: false });
  expect(second).toMatchObject({ created: true, template: { version: 2, supersededBy: null } });
  expect(await templates.get(a, { id: first.template.id })).toMatchObject({
    text: intro.text,
    supersededBy: second.template.id,
  });
  expect((await templates.list(a, {})).data.map(({ id }) => id)).toEqual([second.template.id]);
  expect((await templates.list(a, { name: "intro" })).data.map(({ version }) => version)).toEqual([2, 1]);
});

test("twenty authors at once make versions that count up without gaps", async () => {
  const a = await newTenant(database);
  await Promise.all(Array.from({ length: 20 }, (_, n) => templates.create(a, { ...intro, text: `Text ${n}` })));
  const { data } = await templates.list(a, { name: "intro" });
  expect(data.map(({ version }) => version)).toEqual(Array.from({ length: 20 }, (_, n) => 20 - n));
  expect(data.filter(({ supersededBy }) => supersededBy === null)).toHaveLength(1);
});

test("what is wrong is named by field", async () => {
  const a = await newTenant(database);
  await expect(templates.create(a, { name: "x", html: "<p>x</p>" })).rejects.toMatchObject({
    fields: [{ path: "subject" }],
  });
  await expect(templates.create(a, { name: "x", channel: "sms", subject: "no" })).rejects.toMatchObject({
    fields: [{ path: "text" }, { path: "subject" }],
  });
  await expect(templates.create(a, { ...intro, text: "{{ broken" })).rejects.toMatchObject({
    code: "template.invalid",
    fields: [{ path: "text" }],
  });
  await templates.create(a, intro);
  await expect(templates.create(a, { name: "intro", channel: "sms", text: "hi" })).rejects.toMatchObject({
    code: "template.channel_differs",
  });
  expect((await templates.list(a, {})).data).toHaveLength(1);
});

test("a preview renders with the variables given, and names a missing one", async () => {
  const a = await newTenant(database);
  const { id } = (await templates.create(a, intro)).template;
  expect(await templates.preview(a, { id, variables: { contact: { first_name: "Ada" } } })).toMatchObject({
    rendered: { ok: true, subject: "Hello Ada", text: "Dear Ada" },
  });
  expect(await templates.preview(a, { id })).toMatchObject({ rendered: { ok: false, reason: "missing_variable" } });
});

test("another tenant's template is like a missing one", async () => {
  const [a, b] = [await newTenant(database), await newTenant(database)];
  const { id } = (await templates.create(a, intro)).template;
  await expect(templates.get(b, { id })).rejects.toMatchObject({ code: "template.not_found" });
  await expect(templates.preview(b, { id })).rejects.toMatchObject({ code: "template.not_found" });
  expect((await templates.list(b, { name: "intro" })).data).toEqual([]);
  expect((await templates.create(b, intro)).template.version).toBe(1);
});
