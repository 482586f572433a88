/**
 * The demo's campaign, authored twice: as a graph and as plain steps. Both compile to the same plan, which the demo checks by hash.
 * E-mail with two subjects → wait for an open, or three days → bump → text message to those who engaged. A reply ends the walk.
 */
import type { PlanInput } from "../../core/campaigns/plan.ts";

const intro = `<p>Hello {{ first_name }},</p>
<p>teams like the one at {{ company.name }} lose hours every week to hand-made outreach lists. We wrote down
<a href="https://www.outrider.example/guide">what the best of them do instead</a>.</p>
<p>Worth ten minutes?</p>
<p>Ada, Outrider Demo</p>`;

const bump = `<p>Hello {{ first_name }},</p>
<p>one more thing that may help {{ company.name }}: <a href="https://www.outrider.example/checklist">a one-page checklist</a>.</p>
<p>Just reply and tell me if this is not for you.</p>
<p>Ada, Outrider Demo</p>`;

const text =
  "Ada from Outrider here, {{ first_name }}. You read my note; may I call you this week? Reply STOP to opt out.";

const variants = [
  { id: "question", weight: 50, subject: "A question about {{ company.name }}" },
  { id: "guide", weight: 50, subject: "A short guide for {{ first_name }}" },
];
const shared = { name: "Spring outreach", timeZone: "America/New_York", quietHours: { start: "20:00", end: "08:00" } };

export const graph: PlanInput = {
  ...shared,
  start: "step-1",
  nodes: [
    {
      id: "step-1",
      type: "send",
      channel: "email",
      content: { html: intro },
      variants,
      transitions: [
        { on: "opened", to: "step-2", after: "PT24H" },
        { on: "no_open", to: "step-2", after: "PT72H" },
      ],
    },
    {
      id: "step-2",
      type: "send",
      channel: "email",
      content: { subject: "One more thing for {{ company.name }}", html: bump },
      transitions: [{ on: "no_reply", to: "step-3-if", after: "PT48H" }],
    },
    {
      id: "step-3-if",
      type: "branch",
      cases: [
        {
          when: {
            op: "or",
            of: [
              { op: "happened", event: "opened" },
              { op: "happened", event: "clicked" },
            ],
          },
          to: "step-3",
        },
      ],
    },
    { id: "step-3", type: "send", channel: "sms", content: { text } },
  ],
};

export const steps = {
  ...shared,
  steps: [
    { channel: "email", html: intro, variants },
    {
      delayHours: 72,
      afterEngagementHours: 24,
      channel: "email",
      subject: "One more thing for {{ company.name }}",
      html: bump,
    },
    { delayHours: 48, channel: "sms", onlyIf: "engaged", text },
  ],
};
