import { Engine } from "../../src/shared/proactor/engine.ts";
import type { Operation } from "../../src/shared/proactor/operation.ts";

/** Has every promise of an operation be settled once: calls of the function that settles it are counted. */
export class Settlements {
  readonly #promise: Engine["promise"] = Engine.prototype.promise;
  made = 0;
  settled = 0;

  /** @param twice what to do when one is settled again */
  constructor(twice: (message: string) => void) {
    const watch = <T>(engine: Engine, operation: Operation): Promise<T> => {
      const made = this.#promise.call(engine, operation) as Promise<T>;
      const { kind, resolve } = operation;
      let count = 0;
      const once = () => {
        this.settled++;
        if (++count > 1) twice(`${kind.name} was settled ${count} times`);
      };
      operation.resolve = (value) => {
        once();
        resolve?.(value);
      };
      this.made++;
      return made;
    };
    Engine.prototype.promise = function <T>(this: Engine, operation: Operation): Promise<T> {
      return watch(this, operation);
    };
  }

  [Symbol.dispose](): void {
    Engine.prototype.promise = this.#promise;
  }
}
