/** Bytes written and read in order, all numbers big-endian. */

const encoder = /* @__PURE__ */ new TextEncoder()
const decoder = /* @__PURE__ */ new TextDecoder()

export const utf8 = (text: string): Uint8Array => encoder.encode(text)
export const textOf = (bytes: Uint8Array): string => decoder.decode(bytes)

export class ByteWriter {
  #bytes: Uint8Array
  #view: DataView
  #size = 0

  constructor(capacity = 256) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  get size(): number {
    return this.#size
  }

  u8(value: number): this {
    const at = this.#room(1)
    this.#view.setUint8(at, value)
    return this
  }

  u16(value: number): this {
    const at = this.#room(2)
    this.#view.setUint16(at, value)
    return this
  }

  u32(value: number): this {
    const at = this.#room(4)
    this.#view.setUint32(at, value)
    return this
  }

  u64(value: bigint): this {
    const at = this.#room(8)
    this.#view.setBigUint64(at, value)
    return this
  }

  f64(value: number): this {
    const at = this.#room(8)
    this.#view.setFloat64(at, value)
    return this
  }

  raw(bytes: Uint8Array): this {
    // Grows first: the array may be replaced.
    const at = this.#room(bytes.length)
    this.#bytes.set(bytes, at)
    return this
  }

  /** A text in which every character is one byte, such as a packed key. */
  binary(text: string): this {
    const at = this.#room(text.length)
    for (let i = 0; i < text.length; i++) this.#bytes[at + i] = text.charCodeAt(i)
    return this
  }

  /** Hexadecimal text as the bytes it stands for. */
  hex(text: string): this {
    const at = this.#room(text.length / 2)
    for (let i = 0; i < text.length; i += 2) this.#bytes[at + i / 2] = Number.parseInt(text.slice(i, i + 2), 16)
    return this
  }

  done(): Uint8Array {
    return this.#bytes.slice(0, this.#size)
  }

  #room(size: number): number {
    const at = this.#size
    this.#size += size
    if (this.#size > this.#bytes.length) {
      const larger = new Uint8Array(Math.max(this.#bytes.length * 2, this.#size))
      larger.set(this.#bytes)
      this.#bytes = larger
      this.#view = new DataView(larger.buffer)
    }
    return at
  }
}

/** Reading behind the end is a `RangeError`: what calls it decides what that means. */
export class ByteReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  get left(): number {
    return this.#bytes.length - this.#at
  }

  u8(): number {
    return this.#view.getUint8(this.#take(1))
  }

  u16(): number {
    return this.#view.getUint16(this.#take(2))
  }

  u32(): number {
    return this.#view.getUint32(this.#take(4))
  }

  u64(): bigint {
    return this.#view.getBigUint64(this.#take(8))
  }

  f64(): number {
    return this.#view.getFloat64(this.#take(8))
  }

  raw(size: number): Uint8Array {
    const at = this.#take(size)
    return this.#bytes.subarray(at, at + size)
  }

  binary(size: number): string {
    let text = ""
    for (const byte of this.raw(size)) text += String.fromCharCode(byte)
    return text
  }

  hex(size: number): string {
    let text = ""
    for (const byte of this.raw(size)) text += byte.toString(16).padStart(2, "0")
    return text
  }

  #take(size: number): number {
    const at = this.#at
    if (at + size > this.#bytes.length) throw new RangeError("the bytes end too early")
    this.#at = at + size
    return at
  }
}
