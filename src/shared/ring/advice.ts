import {
  MADV_COLD,
  MADV_COLLAPSE,
  MADV_DODUMP,
  MADV_DOFORK,
  MADV_DONTDUMP,
  MADV_DONTFORK,
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_HUGEPAGE,
  MADV_KEEPONFORK,
  MADV_MERGEABLE,
  MADV_NOHUGEPAGE,
  MADV_NORMAL,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_RANDOM,
  MADV_REMOVE,
  MADV_SEQUENTIAL,
  MADV_UNMERGEABLE,
  MADV_WILLNEED,
  MADV_WIPEONFORK,
} from "../abi/index.ts";

/** The largest page of any machine that the runtimes run on: what is whole at this size is whole at every other. */
const LARGEST_PAGE = 65536;

/** Advice that leaves contents alone, so that the kernel's rounding up to whole pages harms no neighbour. */
const GENTLE_ADVICE: ReadonlySet<number> = new Set([
  MADV_NORMAL,
  MADV_RANDOM,
  MADV_SEQUENTIAL,
  MADV_WILLNEED,
  MADV_DOFORK,
  MADV_MERGEABLE,
  MADV_UNMERGEABLE,
  MADV_HUGEPAGE,
  MADV_NOHUGEPAGE,
  MADV_DONTDUMP,
  MADV_DODUMP,
  MADV_KEEPONFORK,
  MADV_COLD,
  MADV_PAGEOUT,
  MADV_POPULATE_READ,
  MADV_POPULATE_WRITE,
  MADV_COLLAPSE,
]);

/** Advice that takes contents away, here or in forked processes: neighbours on the last page would lose theirs. */
const DISCARDING_ADVICE: ReadonlySet<number> = new Set([
  MADV_DONTNEED,
  MADV_DONTNEED_LOCKED,
  MADV_FREE,
  MADV_REMOVE,
  MADV_DONTFORK,
  MADV_WIPEONFORK,
]);

/**
 * Looks at advice on memory of the library's or of a view.
 *
 * @param length of the memory, in bytes
 * @throws RangeError for advice that takes the contents of other memory away, or makes memory unusable
 */
export function checkAdvice(advice: number, length: number): void {
  if (GENTLE_ADVICE.has(advice)) return;
  if (!DISCARDING_ADVICE.has(advice)) {
    throw new RangeError(
      `advice ${String(advice)} may make memory unusable: it is taken only with a raw address`,
    );
  }
  // Where the memory does not start at a page, the kernel refuses by itself.
  if (length % LARGEST_PAGE !== 0) {
    throw new RangeError(
      `advice ${advice} discards whole pages: ${length} is no multiple of ${LARGEST_PAGE}`,
    );
  }
}
