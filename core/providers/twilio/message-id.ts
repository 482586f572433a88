/** Query parameter of the status callback that brings our id back. */
export const messageIdParameter = "m";
