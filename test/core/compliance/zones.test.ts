import { IANAZone } from "luxon";
import { describe, expect, test } from "vitest";
import { zoneEvidence } from "../../../core/compliance/index.ts";
import { callingCodeZones, npaTable } from "../../../core/compliance/npa.gen.ts";
import { placeOfZip, zonesByPlace } from "../../../core/compliance/places.ts";

describe("phone prefixes", () => {
  test.each([
    ["850", "448"],
    ["270", "364"],
    ["812", "930"],
    ["541", "458"],
    ["423", "729"],
    ["407", "689"],
    ["208", "986"],
    ["306", "474"],
  ])("overlay: %s and %s have the same candidates", (parent, overlay) => {
    expect(zoneEvidence({ phone: `+1${overlay}5550123` }).zones).toEqual(
      zoneEvidence({ phone: `+1${parent}5550123` }).zones,
    );
    expect(zoneEvidence({ phone: `+1${overlay}5550123` }).states).toEqual(
      zoneEvidence({ phone: `+1${parent}5550123` }).states,
    );
  });

  test.each([
    ["+18505550123", ["America/Chicago", "America/New_York"], ["US-FL"]],
    ["+12125550123", ["America/New_York"], ["US-NY"]],
    ["+12105550123", ["America/Chicago"], ["US-TX"]],
    ["+16055550123", ["America/Chicago", "America/Denver", "America/North_Dakota/Center"], ["US-SD"]],
    ["+16215550123", ["America/Chicago"], ["US-TX"]],
    ["+17875550123", ["America/Puerto_Rico"], ["US-PR"]],
  ])("%s", (phone, zones, states) => {
    expect(zoneEvidence({ phone })).toMatchObject({ zones, states, countries: ["US"], known: true });
  });

  test.each(["+18005550123", "+18885550123", "+15005550006", "+19995550123"])(
    "%s says only that it may be American",
    (phone) => {
      expect(zoneEvidence({ phone })).toMatchObject({ zones: [], states: [], countries: ["US"], known: false });
    },
  );

  test.each([
    ["+493012345678", ["Europe/Berlin"]],
    ["+34911234567", ["Atlantic/Canary", "Europe/Madrid"]],
    ["+212612345678", ["Africa/Casablanca", "Atlantic/Canary"]],
  ])("%s has every zone of its calling code", (phone, zones) => {
    expect(zoneEvidence({ phone })).toMatchObject({ zones, states: [], countries: ["ZZ"], known: true });
  });

  test("Australia and Brazil have several", () => {
    expect(zoneEvidence({ phone: "+61412345678" }).zones).toContain("Australia/Perth");
    expect(zoneEvidence({ phone: "+61412345678" }).zones).toContain("Australia/Sydney");
    expect(zoneEvidence({ phone: "+5511912345678" }).zones.length).toBeGreaterThan(2);
  });
});

describe("all evidence is kept", () => {
  test("a number from New York, an address in Hawaii and a zone in Chicago are three candidates", () => {
    const found = zoneEvidence({
      phone: "+12125550123",
      state: "Hawaii",
      postalCode: "96701",
      country: "USA",
      contactZone: "America/Chicago",
    });
    expect(found.zones).toEqual(["America/Chicago", "America/New_York", "Pacific/Honolulu"]);
    expect(found.states).toEqual(["US-HI", "US-NY"]);
    expect(found.evidence.map((item) => item.kind)).toEqual([
      "contact_zone",
      "state",
      "postal_code",
      "phone",
      "country",
    ]);
  });
  test("nothing, blanks and nonsense are unknown, and the nonsense is shown", () => {
    expect(zoneEvidence({})).toEqual({ zones: [], states: [], countries: [], evidence: [], known: false });
    expect(zoneEvidence({ contactZone: " ", phone: "", state: null, country: null }).known).toBe(false);
    const nonsense = zoneEvidence({
      contactZone: "Mars/Olympus",
      state: "Xanadu",
      postalCode: "nope",
      phone: "5550123",
    });
    expect(nonsense).toMatchObject({ zones: [], states: [], countries: [], known: false });
    expect(nonsense.evidence).toHaveLength(4);
  });
  test.each([
    [{ country: "US" }, [], ["US"]],
    [{ country: "de" }, ["Europe/Berlin"], ["DE"]],
    [{ country: "Canada", state: "ON" }, ["America/Atikokan", "America/Toronto", "America/Winnipeg"], ["CA"]],
    [{ postalCode: "M5V 3L9" }, ["America/Atikokan", "America/Toronto", "America/Winnipeg"], ["CA"]],
    [{ contactZone: "US/Eastern" }, ["US/Eastern"], ["US"]],
    [{ contactZone: "Europe/Paris" }, ["Europe/Paris"], ["ZZ"]],
    [{ country: "JM" }, ["America/Jamaica"], ["JM"]],
  ])("%j", (facts, zones, countries) => {
    expect(zoneEvidence(facts)).toMatchObject({ zones, countries });
  });
  test("five digits are a ZIP only where something else says America", () => {
    expect(zoneEvidence({ postalCode: "10115" }).known).toBe(false);
    expect(zoneEvidence({ postalCode: "10115", phone: "+493012345678" }).states).toEqual([]);
    expect(zoneEvidence({ postalCode: "10115", country: "DE" }).zones).toEqual(["Europe/Berlin"]);
    expect(zoneEvidence({ postalCode: "10115", state: "NY" }).states).toEqual(["US-NY"]);
    expect(zoneEvidence({ postalCode: "33101", country: "US" }).states).toEqual(["US-FL"]);
  });
  test("a two-letter state next to a foreign number is not American", () => {
    expect(zoneEvidence({ state: "WA", phone: "+61891234567" }).states).toEqual([]);
    expect(zoneEvidence({ state: "WA", country: "AU" }).states).toEqual([]);
  });
});

describe("ZIP prefixes", () => {
  test.each([
    ["00501", "US-NY"],
    ["00901", "US-PR"],
    ["02108", "US-MA"],
    ["02903", "US-RI"],
    ["05544", "US-MA"],
    ["06103", "US-CT"],
    ["10001", "US-NY"],
    ["20001", "US-DC"],
    ["20190", "US-VA"],
    ["33101", "US-FL"],
    ["39901", "US-GA"],
    ["73301", "US-TX"],
    ["79901", "US-TX"],
    ["88510", "US-TX"],
    ["90001", "US-CA"],
    ["96701", "US-HI"],
    ["96910", "US-GU"],
    ["99501", "US-AK"],
    ["98101-1234", "US-WA"],
    ["82001", "US-WY"],
  ])("%s is in %s", (zip, place) => expect(placeOfZip(zip)).toBe(place));
  test.each(["09012", "34012", "96301", "00000", "1234", "ABCDE", ""])("%j is nowhere", (zip) =>
    expect(placeOfZip(zip)).toBeUndefined(),
  );
});

test("every zone in the data is one that the runtime knows", () => {
  const names = [
    ...Object.values(npaTable).flatMap((entry) => entry.zones),
    ...Object.values(callingCodeZones).flat(),
    ...Object.values(zonesByPlace).flat(),
  ];
  expect([...new Set(names)].filter((name) => !IANAZone.isValidZone(name))).toEqual([]);
  expect(Object.keys(npaTable).length).toBeGreaterThan(430);
});
