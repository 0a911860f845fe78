// Bugs of the kind that a stress must find, put into the library before it is used.

import { Pinned, Ring } from "uring";
import { Doorbell } from "../../src/shared/proactor/doorbell.ts";
import { Operation } from "../../src/shared/proactor/operation.ts";

export const BUGS: Readonly<Record<string, () => void>> = {
  /** Memory that is disposed of goes back one completion early: at its last but none. */
  "early-release"() {
    const { done } = Pinned;
    Pinned.done = () => {};
    const { use } = Pinned;
    Pinned.use = (memory) => {
      const address = use(memory);
      done(memory);
      return address;
    };
  },

  /** The doorbell is armed without a second look at the ring. */
  "no-recheck"() {
    const pending = Object.getOwnPropertyDescriptor(baseOf(Ring.prototype, "pending"), "pending");
    const { arm } = Doorbell.prototype;
    let arming = false;
    Object.defineProperty(baseOf(Ring.prototype, "pending"), "pending", {
      configurable: true,
      get(this: Ring): boolean {
        return !arming && pending?.get?.call(this);
      },
    });
    Doorbell.prototype.arm = function (this: Doorbell): boolean {
      arming = true;
      try {
        return arm.call(this);
      } finally {
        arming = false;
      }
    };
  },

  /** Completions of an operation's earlier uses are taken for its own. */
  "no-generation"() {
    const { clear } = Operation.prototype;
    Operation.prototype.clear = function (this: Operation): void {
      const { generation } = this;
      clear.call(this);
      this.generation = generation;
    };
  },
};

/** The prototype that has a property itself. */
function baseOf(object: object, name: string): object {
  return Object.hasOwn(object, name) ? object : baseOf(Object.getPrototypeOf(object), name);
}
