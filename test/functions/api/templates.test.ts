/** Templates over the API. */
import { expect, test } from "vitest";
import { testApi } from "./support.ts";

const api = await testApi();
const one = await api.client();

const intro = { name: "intro", subject: "Hello {{ contact.firstName }}", text: "A question about {{ company.name }}" };

test("saving again makes the next version, the same words make none", async () => {
  const first = await one.post("/v1/templates", intro);
  expect(first).toMatchObject({ status: 201, body: { created: true, template: { version: 1, supersededBy: null } } });
  expect((await one.post("/v1/templates", intro)).body).toMatchObject({ created: false, template: { version: 1 } });
  const second = await one.post("/v1/templates", { ...intro, text: "Another question" });
  expect(second.body.template.version).toBe(2);
  expect((await one.get(`/v1/templates/${first.body.template.id}`)).body.supersededBy).toBe(second.body.template.id);
  expect((await one.get("/v1/templates")).body.data).toHaveLength(1);
  expect((await one.get("/v1/templates?name=intro")).body.data).toHaveLength(2);
});

test("a preview shows the message, or what is missing", async () => {
  const { id } = (await one.post("/v1/templates", { ...intro, name: "shown" })).body.template;
  const variables = { contact: { firstName: "Kim" }, company: { name: "Acme" } };
  expect((await one.post(`/v1/templates/${id}/preview`, { variables })).body.rendered).toMatchObject({
    ok: true,
    subject: "Hello Kim",
    text: "A question about Acme",
  });
  expect((await one.post(`/v1/templates/${id}/preview`, {})).body.rendered).toMatchObject({
    ok: false,
    reason: "missing_variable",
  });
});

test("a template that cannot work is refused with the part that is wrong", async () => {
  const refused = await one.post("/v1/templates", { name: "bad", subject: "Hi", text: "{% if %}" });
  expect(refused).toMatchObject({ status: 422, body: { code: "template.invalid", errors: [{ path: "text" }] } });
  const sms = await one.post("/v1/templates", { name: "sms", channel: "sms", subject: "Hi" });
  expect(sms.body.errors.map(({ path }: { path: string }) => path).toSorted()).toEqual(["subject", "text"]);
});

test("a name belongs to one channel", async () => {
  const refused = await one.post("/v1/templates", { name: "intro", channel: "sms", text: "Hi" });
  expect(refused).toMatchObject({ status: 409, body: { code: "template.channel_differs" } });
});
