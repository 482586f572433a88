import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createNormalizer } from "../../../core/intake/index.ts";
import { amount, countryCode, personName, webAddress } from "../../../core/intake/values.ts";

const normalize = createNormalizer({ sourceType: "csv_import", importId: "imp_1" });
const one = (raw: Record<string, unknown>, settings = {}) =>
  createNormalizer({ sourceType: "api", ...settings })({ row: 1, raw, size: 0 });

describe("columns", () => {
  it("reads the headers that lists come with", () => {
    const row = one({
      "E-Mail Address": " Ada.Lovelace@ACME.example ",
      "First Name": "Ada",
      lastName: "Lovelace",
      "Job Title": "Countess",
      "Mobile Phone": "(202) 555-0123",
      Organization: "Acme",
      "Zip Code": "55101",
      "Headquarters Location": "Saint Paul, Minnesota",
      "GICS Sector": "Industrials",
      Labels: "vip; fair 2026",
      "SMS Opt-In": "Yes",
      Founded: "1902",
    });
    expect(row.email).toBe("ada.lovelace@acme.example");
    expect(row.meta.fields).toEqual({
      first_name: "Ada",
      last_name: "Lovelace",
      name: "Ada Lovelace",
      title: "Countess",
      phone: "+12025550123",
      company: "Acme",
      domain: "acme.example",
      postal_code: "55101",
      company_location: "Saint Paul, Minnesota",
      industry: "Industrials",
      tags: ["vip", "fair 2026"],
      sms_consent: true,
      custom_fields: { founded: "1902" },
    });
    expect(row.meta.warnings).toBeUndefined();
  });

  it("follows the mapping before the names", () => {
    const row = one(
      { Ansprechpartner: "Ada L", Kontakt: "a@b.example", Notes: "x", Title: "y" },
      { mapping: { Kontakt: "email", Ansprechpartner: "name", Notes: "ignore", Title: "custom" } },
    );
    expect(row).toMatchObject({
      email: "a@b.example",
      meta: { fields: { name: "Ada L", custom_fields: { title: "y" } } },
    });
    expect(row.meta.fields).not.toHaveProperty("title");
  });

  it("reads nested JSON like flat columns", () => {
    const { meta } = one({
      email: "a@mail.example",
      company: { name: "Acme", domain: "acme.example", age: 3 },
      tags: ["a", "b"],
    });
    expect(meta.fields).toMatchObject({
      company: "Acme",
      domain: "acme.example",
      tags: ["a", "b"],
      custom_fields: { company: { age: 3 } },
    });
  });
});

describe("problems and warnings", () => {
  it.each([
    [{ name: "Ada" }, "no e-mail address"],
    [{ email: "  " }, "no e-mail address"],
    [{ email: "ada[at]x.example" }, 'e-mail address "ada[at]x.example" is malformed'],
    [{ email: "ada@nowhere" }, 'e-mail address "ada@nowhere" is malformed'],
  ])("refuses %j", (raw, problem) => {
    expect(one(raw)).toMatchObject({ email: null, raw, meta: { problem } });
  });

  it.each([
    [{ email: "Ada <Ada@x.example>" }, "ada@x.example"],
    [{ email: "mailto:ada@x.example" }, "ada@x.example"],
    [{ email: "ada@EXÄMPLE.example" }, "ada@xn--exmple-cua.example"],
    [{ email: "ada@x.example; bob@x.example" }, "ada@x.example"],
  ])("finds the address in %j", (raw, email) => {
    expect(one(raw).email).toBe(email);
  });

  it("accepts a row without its malformed phone and says so", () => {
    const row = one({ email: "a@x.example", phone: "12345" });
    expect(row.meta.problem).toBeUndefined();
    expect(row.meta.fields).not.toHaveProperty("phone");
    expect(row.meta.warnings).toEqual(['phone "12345" is not a possible number; accepted without it']);
  });

  it("keeps what looks like a formula and flags it, but not phone numbers and amounts", () => {
    const row = one({
      email: "a@x.example",
      company: "=HYPERLINK(1)",
      phone: "+1 202 555 0123",
      balance: "-5",
      note: "+cmd|' /C'",
    });
    expect(row.raw["company"]).toBe("=HYPERLINK(1)");
    expect(row.meta.warnings).toEqual([
      "company looks like a spreadsheet formula; kept as text",
      "note looks like a spreadsheet formula; kept as text",
    ]);
  });

  it("removes what PostgreSQL cannot store", () => {
    const row = one({ email: "a@x.example", first_name: "A\0da", note: "\ud800x", bell: "\u0007z" });
    expect(JSON.stringify(row)).not.toMatch(/\\u0000|\\ud800/);
    expect(row.meta.fields).toMatchObject({ first_name: "Ada", custom_fields: { bell: "z" } });
    expect(row.meta.warnings).toContain("control characters removed from first_name");
  });

  it("says no to links that run scripts", () => {
    const row = one({ email: "a@x.example", linkedin: "javascript:alert(1)", website: "www.acme.example/about" });
    expect(row.meta.fields).not.toHaveProperty("linkedin_url");
    expect(row.meta.fields).toMatchObject({ website: "https://www.acme.example/about", domain: "acme.example" });
  });

  it("does not take a mailbox provider for an employer", () => {
    expect(one({ email: "ada@gmail.com" }).meta.fields).not.toHaveProperty("domain");
    expect(one({ email: "ada@gmail.com", website: "acme.example" }).meta.fields).toMatchObject({
      domain: "acme.example",
    });
  });

  it("turns any values into a row that can be stored, the same each time", () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), fc.string({ unit: "binary" }), (raw, email) => {
        const source = { row: 1, raw: { ...raw, email }, size: 0 };
        const first = normalize(source);
        expect(normalize(source)).toEqual(first);
        expect(JSON.stringify(first)).not.toMatch(/(^|[^\\])(\\\\)*\\u0000/);
        expect(first.email === null).toBe(first.meta.problem !== undefined);
      }),
    );
  });
});

describe("values", () => {
  it.each([
    ["Ada Lovelace", "Ada", "Lovelace"],
    ["Lovelace, Ada", "Ada", "Lovelace"],
    ["Ludwig van Beethoven", "Ludwig", "van Beethoven"],
    ["Dr. José María García", "José María", "García"],
    ["Martin King, Jr.", "Martin", "King"],
    ["田中太郎", null, null],
    ["Zoë", null, null],
  ])("splits %s", (name, first, last) => {
    expect(personName(name, null, null)).toMatchObject({ first, last });
  });

  it.each([
    ["1.2B", 1_200_000_000],
    ["$500M", 500_000_000],
    ["3,400,000", 3_400_000],
    ["1.200.000 €", 1_200_000],
    ["1.2 billion", 1_200_000_000],
    ["10M-50M", 10_000_000],
    ["1,001-5,000", 1_001],
    ["500+", 500],
    ["lots", null],
    ["", null],
  ])("reads the amount %s", (text, value) => {
    expect(amount(text)).toBe(value);
  });

  it("reads countries by code and name", () => {
    expect(["us", "United States", "Deutschland", "UK", "Atlantis"].map(countryCode)).toEqual([
      "US",
      "US",
      "DE",
      "GB",
      null,
    ]);
  });

  it("takes only web addresses for web addresses", () => {
    expect(["data:text/html,x", "acme.example", "http://acme.example/", "nothing"].map(webAddress)).toEqual([
      null,
      "https://acme.example",
      "http://acme.example",
      null,
    ]);
  });
});
