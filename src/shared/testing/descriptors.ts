const EBADF = 9;

/** File descriptors that the simulated kernel gives away begin here, where no real one is. */
const FIRST_FD = 1_000_000_000;

/** An open file, shared by all descriptors of it. */
export class SimulatedFile {
  /** What it is, or which operation made it. */
  readonly what: string;
  readonly kind: "eventfd" | "ring" | "other";
  /** How many descriptors there are of it. */
  references = 0;
  /** An eventfd's counter. */
  #counter = 0n;
  /** Called once when it can be read, in the order of those that wait. */
  readonly waiters: Set<() => void> = new Set();
  /** Called when the last descriptor is gone. */
  onClose: () => void = () => {};

  constructor(what: string, kind: SimulatedFile["kind"] = "other") {
    this.what = what;
    this.kind = kind;
  }

  get readable(): boolean {
    return this.#counter > 0n;
  }

  /** Reads an eventfd's counter, and sets it back. */
  take(): Uint8Array {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, this.#counter, true);
    this.#counter = 0n;
    return bytes;
  }

  /** Adds to an eventfd's counter. */
  signal(count = 1n): void {
    this.#counter += count;
    for (const waiter of [...this.waiters]) {
      this.waiters.delete(waiter);
      waiter();
    }
  }

  /** One descriptor less. */
  release(): void {
    if (--this.references === 0) this.onClose();
  }
}

/** The process's table of descriptors, as far as they are simulated. */
export class Descriptors {
  readonly #open = new Map<number, SimulatedFile>();
  /** Stand for real files, of which nothing is known but the fd. */
  readonly #foreign = new Map<number, SimulatedFile>();
  #next = FIRST_FD;

  /** Gives a file a descriptor. Numbers are not used twice, so that whoever keeps one for too long is found out. */
  open(file: SimulatedFile): number {
    file.references++;
    this.#open.set(this.#next, file);
    return this.#next++;
  }

  /** The file of a descriptor, real ones included. */
  get(fd: number): SimulatedFile | undefined {
    if (fd < 0 || fd >= FIRST_FD) return this.#open.get(fd);
    let file = this.#foreign.get(fd);
    if (file === undefined) {
      file = new SimulatedFile("a real file");
      this.#foreign.set(fd, file);
    }
    return file;
  }

  /** `close(2)`. Real descriptors are none here: those who gave them their numbers need them after a test. */
  close(fd: number): number {
    const file = this.#open.get(fd);
    if (file === undefined) return -EBADF;
    this.#open.delete(fd);
    file.release();
    return 0;
  }

  /** Whether a descriptor that was given away is closed. */
  isClosed(fd: number): boolean {
    return fd >= FIRST_FD && fd < this.#next && !this.#open.has(fd);
  }

  /** What is open, and what it is. */
  list(): Map<number, string> {
    return new Map([...this.#open].map(([fd, { what }]) => [fd, what]));
  }
}
