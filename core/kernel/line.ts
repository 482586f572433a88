/** What ends a line for some reader on the way to a recipient. Invariant: text that holds none of it cannot become a second header. */

/** Control characters (NUL, CR, LF, NEL, …) and Unicode's own separators. */
export const lineEnd = /[\p{Cc}\u2028\u2029]/u;
