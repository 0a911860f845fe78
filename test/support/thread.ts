import { Worker as NodeWorker, parentPort } from "node:worker_threads";

/** The two ways to start a thread. Where an engine makes a difference, both must work. */
export type ThreadKind = "Worker" | "node:worker_threads";

/** What both ends of a thread, of either kind, have in common. */
interface Port {
  postMessage(message: unknown): void;
}

/** Messages as they come, each taken once. */
class Mailbox {
  readonly #messages: unknown[] = [];
  readonly #takers: ((message: unknown) => void)[] = [];

  put(message: unknown): void {
    const taker = this.#takers.shift();
    if (taker === undefined) this.#messages.push(message);
    else taker(message);
  }

  take(): Promise<unknown> {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift());
    return new Promise((resolve) => this.#takers.push(resolve));
  }
}

/** What a thread answers where it failed. */
interface Failure {
  readonly failure: string;
}

function isFailure(answer: unknown): answer is Failure {
  return typeof answer === "object" && answer !== null && "failure" in answer;
}

/** A thread that runs a program of this folder, which `serve`s functions to be called from here. */
export class Thread {
  readonly #worker: Worker | NodeWorker;
  readonly #answers = new Mailbox();

  constructor(program: string, kind: ThreadKind = "Worker") {
    const url = new URL(program, import.meta.url);
    const failed = (failure: string) => this.#answers.put({ failure });
    if (kind === "Worker") {
      const worker = new Worker(url, { type: "module" });
      worker.onmessage = ({ data }) => this.#answers.put(data);
      worker.onerror = (event) => {
        event.preventDefault();
        failed(event.message);
      };
      this.#worker = worker;
    } else {
      const worker = new NodeWorker(url);
      worker.on("message", (message) => this.#answers.put(message));
      worker.on("error", (error) => failed(String(error)));
      this.#worker = worker;
    }
  }

  /** Calls a function of the program; its result. Calls are answered in order. */
  async call<T = unknown>(name: string, ...args: unknown[]): Promise<T> {
    (this.#worker as Port).postMessage([name, ...args]);
    const answer = await this.#answers.take();
    if (isFailure(answer)) throw new Error(`in the thread: ${answer.failure}`);
    return (answer as { result: T }).result;
  }

  /** Ends the thread wherever it is. With `Worker` it may go on for a moment. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.terminate();
  }
}

/** In a thread: answers calls of these functions for as long as the thread lives. */
// biome-ignore lint/suspicious/noExplicitAny: what comes is what the caller in the other thread has sent
export function serve(functions: Readonly<Record<string, (...args: any[]) => unknown>>): void {
  const scope = globalThis as unknown as Port & { onmessage: (event: { data: unknown }) => void };
  const port: Port = parentPort ?? scope;
  const answer = async (message: unknown) => {
    const [name, ...args] = message as [string, ...unknown[]];
    try {
      const called = functions[name];
      if (called === undefined) throw new Error(`there is no ${name}`);
      port.postMessage({ result: await called(...args) });
    } catch (error) {
      port.postMessage({ failure: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  };
  if (parentPort !== null) parentPort.on("message", answer);
  else scope.onmessage = ({ data }) => void answer(data);
}
