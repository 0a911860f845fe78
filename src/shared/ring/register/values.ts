/** An argument that is an object, to take members out of. */
export function object<T>(value: T, name: string): T {
  if (typeof value === "object" && value !== null) return value;
  throw new TypeError(`${name} must be an object, not ${value === null ? "null" : typeof value}`);
}

/** An argument that is true or false. */
export function boolean(value: unknown, name: string): boolean {
  if (typeof value === "boolean") return value;
  throw new TypeError(`${name} must be true or false, not ${typeof value}`);
}
