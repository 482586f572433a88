/** Something that must never be. Invariant: thrown by checkers only, so that any other error is a fault of the simulation itself. */
export class Violation extends Error {
  readonly checker: string;
  constructor(checker: string, detail: string) {
    super(detail);
    this.checker = checker;
  }
}
