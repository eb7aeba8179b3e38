/** A binary heap from which any member can be taken, and in which any member can find its new place. */
export class IndexedHeap<T> {
  readonly #before: (a: T, b: T) => boolean;
  readonly #items: T[] = [];
  readonly #place = new Map<T, number>();

  /** @param before whether `a` comes out before `b` */
  constructor(before: (a: T, b: T) => boolean) {
    this.#before = before;
  }

  get size(): number {
    return this.#items.length;
  }

  peek(): T | undefined {
    return this.#items[0];
  }

  has(item: T): boolean {
    return this.#place.has(item);
  }

  /** Adds a member, or moves it to where it belongs now. O(log n). */
  set(item: T): void {
    let at = this.#place.get(item);
    if (at === undefined) {
      at = this.#items.length;
      this.#items.push(item);
      this.#place.set(item, at);
    }
    this.#sink(this.#rise(at));
  }

  /** False where it is no member. O(log n). */
  delete(item: T): boolean {
    const at = this.#place.get(item);
    if (at === undefined) return false;
    this.#place.delete(item);
    const last = this.#items.pop() as T;
    if (last !== item) {
      this.#put(last, at);
      this.#sink(this.#rise(at));
    }
    return true;
  }

  clear(): void {
    this.#items.length = 0;
    this.#place.clear();
  }

  #put(item: T, at: number): void {
    this.#items[at] = item;
    this.#place.set(item, at);
  }

  #rise(from: number): number {
    let at = from;
    const item = this.#items[at] as T;
    while (at > 0) {
      const up = (at - 1) >> 1;
      const parent = this.#items[up] as T;
      if (!this.#before(item, parent)) break;
      this.#put(parent, at);
      at = up;
    }
    this.#put(item, at);
    return at;
  }

  #sink(from: number): void {
    let at = from;
    const item = this.#items[at] as T;
    for (;;) {
      let down = 2 * at + 1;
      if (down >= this.#items.length) break;
      if (down + 1 < this.#items.length && this.#before(this.#items[down + 1] as T, this.#items[down] as T)) down += 1;
      const child = this.#items[down] as T;
      if (!this.#before(child, item)) break;
      this.#put(child, at);
      at = down;
    }
    this.#put(item, at);
  }
}
