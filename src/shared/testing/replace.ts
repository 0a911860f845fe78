/** Functions whose time is over, and what they stood in for. */
const over = new WeakMap<object, unknown>();

/**
 * Has functions stand in for an object's own.
 *
 * @returns what puts back those from before, once those that were put over these are gone as well
 */
export function replace<T extends object, K extends keyof T>(target: T, functions: Pick<T, K>): () => void {
  const names = Object.keys(functions) as K[];
  const before = new Map(names.map((name) => [name, target[name]]));
  Object.assign(target, functions);
  return () => {
    for (const name of names) {
      over.set(functions[name] as object, before.get(name));
      // Those below may have been over for long.
      while (over.has(target[name] as object)) target[name] = over.get(target[name] as object) as T[K];
    }
  };
}
