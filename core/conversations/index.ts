/**
 * Conversations: what comes back from people. Invariant: whoever asks to be left alone is heard before anything else is read into the words.
 */
export {
  classifyInbound,
  type InboundFacts,
  type InboundKind,
  type InboundVerdict,
  type ResponseType,
} from "./policy.ts";
export { getConversation, listConversations, listInbound } from "./read.ts";
export {
  countResponses,
  type Heard,
  hear,
  type InboundItem,
  type OptIn,
  type OptOut,
  optInsOf,
  optOutsOf,
  store,
} from "./receive.ts";
export { newTextOf } from "./reply-text.ts";
