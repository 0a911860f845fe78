// The few globals of the web platform that the core uses. Runtimes bring declarations of their own, so the core's
// project alone includes this file.

declare class TextEncoder {
  encode(text: string): Uint8Array<ArrayBuffer>;
}

declare class TextDecoder {
  constructor(encoding?: string, options?: { fatal?: boolean });
  decode(bytes: Uint8Array): string;
}

declare const performance: { now(): number; readonly timeOrigin: number };

declare class URL {
  constructor(url: string, base?: URL | string);
  readonly pathname: string;
}

declare class DOMException extends Error {
  constructor(message?: string, name?: string);
}

declare class AbortSignal {
  readonly aborted: boolean;
  readonly reason: unknown;
  addEventListener(type: "abort", listener: { handleEvent(): void }): void;
  removeEventListener(type: "abort", listener: { handleEvent(): void }): void;
}

declare function queueMicrotask(callback: () => void): void;
declare function setTimeout(callback: () => void, milliseconds: number): number;
declare function clearTimeout(timer: number): void;
