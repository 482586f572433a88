/** The custom argument that brings our id back with every event. SendGrid's own keys win over custom ones, hence the prefix. */
export const messageIdArgument = "outrider_message_id";
