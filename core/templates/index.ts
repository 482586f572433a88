/**
 * Templates: a tenant's text to a message. The parts here are pure. Invariant: a render yields a complete message or a reason, never a
 * message with a hole.
 */
export { type Instrumentation, type Instrumented, instrument } from "./instrument.ts";
export { escapeHtml } from "./liquid.ts";
export {
  type CompiledTemplate,
  compileTemplate,
  headerText,
  MAX_HTML_BYTES,
  MAX_SMS_CHARS,
  type Rendered,
  render,
  type TemplateProblem,
  type TemplateSource,
  textFromHtml,
} from "./render.ts";
export {
  create,
  get,
  list,
  type Preview,
  preview,
  type Saved,
  type StoredTemplate,
  TemplateInput,
  TemplateInput as EmailTemplateCreateSchema,
  templateChannels,
} from "./store.ts";
export { adviceOn, doubtOf, recordVariables } from "./variables.ts";
