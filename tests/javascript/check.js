// node check.js [vectors]: reads every vector; prints how many agree, and ends with 1 and the differences if any does not.
import { readFileSync } from 'node:fs'
import { isDeepStrictEqual } from 'node:util'
import { decode, encode, Refusal } from './codec.js'
import * as wire from './wire.js'
import { drandBeacon, readChain, roundOfEpoch, verifyRound } from './beacon.js'

const vectors = process.argv[2] ?? new URL('../../protocols/vectors', import.meta.url).pathname
const load = (name) => JSON.parse(readFileSync(`${vectors}/${name}.json`, 'utf8'))
const raw = (value) => typeof value === 'string'
  ? Buffer.from(value, 'hex')
  : Buffer.concat(value.map(([part, times]) => { const bytes = Buffer.from(part, 'hex'); return Buffer.alloc(bytes.length * times, bytes) }))

// As the vectors write it: names kept, binary as hexadecimal, integers as numbers; typed values and parameters keep their type.
const typed = (value) => {
  if (typeof value === 'bigint') return { integer: Number(value) }
  if (typeof value === 'number') return { float: value }
  if (typeof value === 'string') return { text: value }
  if (typeof value === 'boolean') return { boolean: value }
  return Array.isArray(value) ? { array: value.map(typed) } : { binary: Buffer.from(value).toString('hex') }
}
const untyped = (tagged) => 'integer' in tagged ? BigInt(tagged.integer) : Object.values(tagged)[0]
const plain = (value, key) => {
  if (key === 'parameters') return value.map(([name, setting]) => [name, typed(setting)])
  if (typeof value === 'bigint') return Number(value)
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (Array.isArray(value)) return value.map((item) => plain(item))
  if (typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([name, item]) => [name, plain(item, name)]))
  return value
}
const recipeOf = (json) => ({
  ...json,
  parameters: json.parameters.map(([name, setting]) => [name, untyped(setting)]),
  epoch: BigInt(json.epoch),
  proposer: raw(json.proposer),
  index: BigInt(json.index),
})

const chains = Object.fromEntries((load('beacon').chains ?? []).map(({ hash, info }) =>
  [hash, readChain({ ...info, genesis_time: BigInt(info.genesis_time), period: BigInt(info.period) })]))

// file: [what a valid case reads as and should read as, how an invalid one is read]
const readEnvelope = (each) => {
  const { id, ...fields } = wire.openEnvelope(raw(each.bytes), raw(each.swarm_id))
  return { id, fields, body: wire.readBody(fields.kind, fields.body, fields.key) }
}
const convicted = (each) => wire.checkProof(wire.readBody(3n, raw(each.bytes)), raw(each.swarm_id))
const readSync = ({ message, bytes, request }) => {
  if (message === 'heads-request') return wire.readHeadsRequest(raw(bytes))
  if (message === 'log-request') return wire.readLogRequest(raw(bytes))
  if (message === 'heads') return wire.readHeads(raw(bytes), wire.readHeadsRequest(raw(request)))
  return wire.readLog(raw(bytes), wire.readLogRequest(raw(request))).map(({ id }) => id)
}
const files = {
  codec: [
    (each) => { const value = decode(raw(each.bytes), 8 * 2 ** 20); return [[typed(value), plain(encode(value))], [each.value, each.bytes]] },
    (each) => decode(raw(each.bytes), 8 * 2 ** 20),
  ],
  recipes: [(each) => {
    const read = wire.readRecipe(raw(each.bytes))
    return [[plain(read), plain(wire.recipeBytes(read)), String(wire.seed(read, raw(each.beacon)))], [each.recipe, each.bytes, each.seed]]
  }],
  peers: [
    (each) => [[wire.peerId(raw(each.public_key)), plain(wire.publicKey(each.peer_id))], [each.peer_id, each.public_key]],
    (each) => wire.publicKey(each.peer_id),
  ],
  manifests: [
    (each) => {
      const read = wire.readManifest(each.toml)
      const epochs = each.epochs.map(({ time_ms }) => ({ time_ms, epoch: Number(read.epochOf(time_ms)) }))
      return [[plain(read.bytes), plain(read.id), read.topic, epochs], [each.bytes, each.swarm_id, each.topic, each.epochs]]
    },
    (each) => wire.readManifest(each.toml),
  ],
  bodies: [
    (each) => [plain(wire.readBody(BigInt(each.kind), raw(each.bytes), raw(each.signer))), each.body],
    (each) => wire.readBody(BigInt(each.kind), raw(each.bytes), raw(each.signer)),
  ],
  envelopes: [
    (each) => {
      const { id, fields, body } = readEnvelope(each)
      const sealed = wire.seal(raw(each.secret), raw(each.swarm_id), fields)
      return [[plain(id), plain(fields), plain(body), plain(sealed)], [each.id, each.fields, each.body, each.bytes]]
    },
    readEnvelope,
  ],
  proofs: [(each) => [plain(convicted(each)), each.signer], convicted],
  sync: [(each) => [plain(readSync(each)), each.fields], readSync],
  invites: [
    (each) => [plain(wire.readInvite(each.text)), { manifest_id: each.manifest_id, addresses: each.addresses }],
    (each) => wire.readInvite(each.text),
  ],
  beacon: [
    (each) => {
      const randomness = verifyRound(chains[each.chain], each.round, raw(each.signature))
      const value = ({ manifest_id, epoch }) => plain(drandBeacon(raw(manifest_id), epoch, randomness))
      return [[plain(randomness), each.values.map(value)], [each.randomness, each.values.map(({ value }) => value)]]
    },
    (each) => verifyRound(chains[each.chain], each.round, raw(each.signature)),
  ],
}

const differences = []
const counts = {}
const compare = (where, got, wanted) => {
  if (!isDeepStrictEqual(got, wanted)) differences.push({ where, got, wanted })
}
const reasonOf = (read, each) => {
  try {
    read(each)
    return 'taken as valid'
  } catch (error) {
    if (error instanceof Refusal) return error.reason
    throw error
  }
}
for (const [file, [readValid, readInvalid]] of Object.entries(files)) {
  const { valid, invalid, ...others } = load(file)
  valid.forEach((each, n) => compare(`${file}: valid ${each.name ?? n}`, ...readValid(each)))
  invalid.forEach((each) => compare(`${file}: invalid ${each.name}`, reasonOf(readInvalid, each), each.reason))
  others.local_beacons?.forEach((each) =>
    compare(`beacon of ${each.epoch}`, plain(wire.localBeacon(raw(each.manifest_id), each.epoch)), each.value))
  others.chains?.forEach((each) => compare(`chain ${each.hash}`, plain(chains[each.hash].hash), each.hash))
  others.rounds?.forEach((each) => compare(`round of ${each.epoch}`,
    Number(roundOfEpoch(chains[each.chain], each.epoch_seconds, each.epoch)), each.round))
  others.permits?.forEach((each) =>
    compare(`permits: ${each.name}`, wire.permits(wire.readManifest(each.toml), recipeOf(each.recipe)), each.reason))
  counts[file] = { valid: valid.length, invalid: invalid.length }
}
console.log(JSON.stringify({ counts, differences }, null, 1))
process.exitCode = differences.length > 0 ? 1 : 0
