// Canonical MessagePack as protocols/README.md restricts it. Integers are BigInt and floats are numbers, so that types survive.

export class Refusal extends Error {
  constructor(reason, message) {
    super(`${reason}: ${message}`)
    this.reason = reason
  }
}

export const refuse = (reason, message) => {
  throw new Refusal(reason, message)
}

const MAX_INTEGER = 2n ** 53n - 1n
const UTF8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

// head byte: [type, bytes of the number that follows, least number that needs this form]
const FORMS = {
  0xcc: ['integer', 1, 0x80n], 0xcd: ['integer', 2, 0x100n], 0xce: ['integer', 4, 0x10000n], 0xcf: ['integer', 8, 0x100000000n],
  0xd0: ['negative', 1, 0x21n], 0xd1: ['negative', 2, 0x81n], 0xd2: ['negative', 4, 0x8001n], 0xd3: ['negative', 8, 0x80000001n],
  0xd9: ['text', 1, 0x20n], 0xda: ['text', 2, 0x100n], 0xdb: ['text', 4, 0x10000n],
  0xc4: ['binary', 1, 0n], 0xc5: ['binary', 2, 0x100n], 0xc6: ['binary', 4, 0x10000n],
  0xdc: ['array', 2, 0x10n], 0xdd: ['array', 4, 0x10000n],
}

export function decode (data, maxBytes, maxValues = 65_536, maxDepth = 8) {
  if (data.length > maxBytes) refuse('too-large', 'bytes')
  let at = 0
  let valuesLeft = maxValues - 1

  const take = (count) => {
    if (at + count > data.length) refuse('malformed', `cut off at ${at}`)
    at += count
    return data.subarray(at - count, at)
  }
  const text = (size) => {
    const bytes = take(size)
    try {
      return UTF8.decode(bytes)
    } catch {
      return refuse('malformed', 'not UTF-8')
    }
  }
  const array = (count, depth) => {
    if (count > valuesLeft || depth === 0) refuse('too-large', 'values or levels')
    valuesLeft -= count
    const items = []
    for (let n = 0; n < count; n++) items.push(value(depth - 1))
    return items
  }
  const float = () => {
    const bytes = take(8)
    const number = Buffer.from(bytes).readDoubleBE()
    if (!Number.isFinite(number)) refuse('malformed', 'not finite')
    if (Object.is(number, -0)) refuse('not-canonical', 'negative zero')
    return number
  }
  const value = (depth) => {
    const head = take(1)[0]
    if (head < 0x80) return BigInt(head)
    if (head >= 0xe0) return BigInt(head - 0x100)
    if (head >= 0xa0 && head < 0xc0) return text(head & 0x1f)
    if (head >= 0x90 && head < 0xa0) return array(head & 0x0f, depth)
    if (head === 0xcb) return float()
    if (head === 0xc2 || head === 0xc3) return head === 0xc3
    if (!(head in FORMS)) refuse('malformed', `type 0x${head.toString(16)}`)
    const [kind, width, least] = FORMS[head]
    const bits = BigInt(`0x${Buffer.from(take(width)).toString('hex')}`)
    const number = kind === 'negative' ? BigInt.asIntN(8 * width, bits) : bits
    if ((kind === 'negative' ? -number : number) < least) refuse('not-canonical', `${number} has a shorter form`)
    if (kind === 'text') return text(Number(number))
    if (kind === 'binary') return take(Number(number))
    if (kind === 'array') return array(Number(number), depth)
    if (number > MAX_INTEGER || number < -MAX_INTEGER) refuse('malformed', 'integer out of range')
    return number
  }

  const result = value(maxDepth)
  if (at !== data.length) refuse('malformed', 'bytes left over')
  return result
}

const sized = (kind, number, fixed) => {
  if (fixed !== undefined) return Buffer.from([fixed])
  const [head, [, width]] = Object.entries(FORMS).find(([, [type, bytes]]) => type === kind &&
    (kind === 'negative' ? number >= -(2n ** BigInt(8 * bytes - 1)) : number < 2n ** BigInt(8 * bytes)))
  const bits = BigInt.asUintN(8 * width, number).toString(16).padStart(2 * width, '0')
  return Buffer.from(Number(head).toString(16) + bits, 'hex')
}

export function encode (value) {
  if (typeof value === 'boolean') return Buffer.from([value ? 0xc3 : 0xc2])
  if (typeof value === 'bigint') {
    if (value < 0n) return sized('negative', value, value >= -32n ? Number(value) + 0x100 : undefined)
    return sized('integer', value, value < 0x80n ? Number(value) : undefined)
  }
  if (typeof value === 'number') {
    const bytes = Buffer.alloc(9, 0xcb)
    bytes.writeDoubleBE(value, 1)
    return bytes
  }
  const count = (kind, length, head, limit) => sized(kind, BigInt(length), length < limit ? head + length : undefined)
  if (typeof value === 'string') {
    const bytes = Buffer.from(value)
    return Buffer.concat([count('text', bytes.length, 0xa0, 32), bytes])
  }
  if (Array.isArray(value)) return Buffer.concat([count('array', value.length, 0x90, 16), ...value.map(encode)])
  return Buffer.concat([count('binary', value.length, 0, 0), value])
}
