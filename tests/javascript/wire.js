// The records of protocols/README.md: read with every limit, refused with its reason codes.
import { createHash, createPrivateKey, createPublicKey, sign as ed25519Sign, verify as ed25519Verify } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { parse, TomlError } from 'smol-toml'
import { QUICKNET, readChain } from './beacon.js'
import { decode, encode, Refusal, refuse } from './codec.js'

const MAX_INTEGER = 2n ** 53n - 1n
const hash = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const domain = (name) => Buffer.from(`swarmd/1/${name}\0`)
const uint64 = (number) => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64BE(BigInt(number)); return bytes }
const hex = (bytes) => Buffer.from(bytes).toString('hex')

// Fields: the value itself, or the reason "schema"
const schema = (good, value, what) => good ? value : refuse('schema', what)
const integer = (value, what, least = 0n, most = MAX_INTEGER) =>
  schema(typeof value === 'bigint' && value >= least && value <= most, value, what)
const float = (value, what, least, most) =>
  schema(typeof value === 'number' && value >= least && value <= most && !Object.is(value, -0), value, what)
const binary = (value, what, size) => schema(value instanceof Uint8Array && value.length === size, value, what)
const text = (value, what, most) => schema(typeof value === 'string' && Buffer.byteLength(value) <= most, value, what)
const name = (value, what, pattern) => schema(typeof value === 'string' && pattern.test(value), value, what)
const array = (value, what, least, most = least) =>
  schema(Array.isArray(value) && value.length >= least && value.length <= most, value, what)

const ENVIRONMENT = /^(?=.{1,96}$)[a-z0-9_.-]+\/[a-z0-9_.-]+$/
const VERSION = /^[0-9A-Za-z.+_-]{1,32}$/
const PARAMETER = /^[a-z][a-z0-9_]{0,63}$/
const RENDERING = /^[a-z][a-z0-9_]{0,31}$/
const MODEL = /^[!-~]{1,128}$/

const parameterValue = (value) => {
  if (typeof value === 'boolean') return value
  if (typeof value === 'bigint') return integer(value, 'parameter', -MAX_INTEGER)
  if (typeof value === 'number') return float(value, 'parameter', -Number.MAX_VALUE, Number.MAX_VALUE)
  return text(value, 'parameter', 256)
}

const recipe = (value) => {
  const [environment, version, parameters, epoch, proposer, index] = array(value, 'recipe', 6)
  array(parameters, 'parameters', 0, 16).forEach((pair, n) => {
    const [key, setting] = array(pair, 'parameter', 2)
    name(key, 'parameter name', PARAMETER)
    schema(n === 0 || key > parameters[n - 1][0], key, 'parameters sorted')
    parameterValue(setting)
  })
  return {
    environment: name(environment, 'environment', ENVIRONMENT),
    version: name(version, 'version', VERSION),
    parameters,
    epoch: integer(epoch, 'epoch'),
    proposer: binary(proposer, 'proposer', 32),
    index: integer(index, 'index'),
  }
}
export const readRecipe = (bytes) => recipe(decode(bytes, 8 * 2 ** 20))
export const recipeBytes = (r) => encode([r.environment, r.version, r.parameters, r.epoch, r.proposer, r.index])
export const seed = (recipe, beacon) => hash(domain('seed'), recipeBytes(recipe), beacon).readBigUInt64BE() >> 1n
export const localBeacon = (manifestId, epoch) => hash(domain('beacon'), manifestId, uint64(epoch))

const group = (value) => {
  const [task, rendering, policy, completions, rewards] = array(value, 'group', 5)
  const [model, digest, step] = array(policy, 'policy', 3)
  array(completions, 'completions', 1, 64)
  return {
    recipe: recipe(task),
    rendering: name(rendering, 'rendering', RENDERING),
    policy: { model: name(model, 'model', MODEL), digest: binary(digest, 'digest', 32), step: integer(step, 'step') },
    completions: completions.map((item) => {
      const [answer, finished, tokens, logprob] = array(item, 'completion', 4)
      return {
        text: text(answer, 'text', 256 * 1024),
        finished: schema(typeof finished === 'boolean', finished, 'finished'),
        tokens: integer(tokens, 'tokens'),
        logprob: float(logprob, 'logprob', -Number.MAX_VALUE, 0),
      }
    }),
    rewards: array(rewards, 'rewards', completions.length).map((reward) => float(reward, 'reward', -1000, 1000)),
  }
}

const share = (value) => {
  const [round, epoch, first, count, groups] = array(value, 'share', 5)
  const read = {
    round: integer(round, 'round'),
    epoch: integer(epoch, 'epoch'),
    first_index: integer(first, 'first_index'),
    count: integer(count, 'count', 0n, MAX_INTEGER - first),
    groups: array(groups, 'groups', 0, 128).map(group),
  }
  let least = first
  for (const { recipe } of read.groups) {
    schema(recipe.epoch === epoch && recipe.index >= least && recipe.index < first + count, recipe, 'epoch and index')
    least = recipe.index + 1n
  }
  return read
}

export const readBody = (kind, bytes, signer) => {
  if (kind === 1n) {
    const read = share(decode(bytes, 8 * 2 ** 20))
    if (read.groups.some(({ recipe }) => hex(recipe.proposer) !== hex(signer))) refuse('proposer', 'another key')
    return read
  }
  if (kind === 3n) {
    const [one, other] = array(decode(bytes, 8 * 2 ** 20), 'proof', 2)
    schema([one, other].every((each) => each instanceof Uint8Array) && Buffer.compare(one, other) < 0, one, 'two envelopes, ascending')
    return { one, other }
  }
  if (kind !== 2n) refuse('kind', kind)
  const [bodyHash, bodyBytes] = array(decode(bytes, 8 * 2 ** 20), 'announce', 2)
  return { body_hash: binary(bodyHash, 'hash', 32), body_bytes: integer(bodyBytes, 'bytes', 1n, 8n * 2n ** 20n) }
}

const P = 2n ** 255n - 19n
const Y8 = 2707385501144840649318225287225658788936804267575313519463743609750303402022n
const signedBytes = (swarm, fields) => Buffer.concat([domain('envelope'), swarm, encode(fields)])

export const openEnvelope = (bytes, swarm) => {
  if (bytes.length <= 768 * 1024 && bytes[0] >= 0x91 && bytes[0] <= 0x9f && bytes[1] <= 0x7f && bytes[1] !== 1) {
    refuse('version', bytes[1])
  }
  const [version, kind, key, sequence, previous, timeMs, body, signature] =
    array(decode(bytes, 768 * 1024, 16, 2), 'envelope', 8)
  integer(version, 'version', 1n, 1n)
  integer(kind, 'kind', 1n, 127n)
  binary(key, 'key', 32)
  integer(sequence, 'sequence')
  binary(previous, 'previous', 32)
  integer(timeMs, 'time_ms')
  schema(body instanceof Uint8Array, body, 'body')
  binary(signature, 'signature', 64)
  schema((sequence === 0n) === previous.every((byte) => byte === 0), previous, 'previous')
  if ((kind === 1n || kind === 2n) && body.length > 256 * 1024) refuse('too-large', 'body')
  const signed = signedBytes(swarm, [version, kind, key, sequence, previous, timeMs, body])
  const y = BigInt(`0x${hex(Buffer.from(key).reverse())}`) % 2n ** 255n
  if (y >= P || [0n, 1n, Y8, P - Y8, P - 1n].includes(y)) refuse('signature', 'key')
  const publicKey = createPublicKey({ key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(key).toString('base64url') }, format: 'jwk' })
  if (!ed25519Verify(null, signed, publicKey, signature)) refuse('signature', 'does not fit')
  return { version, kind, key, sequence, previous, time_ms: timeMs, body, signature, id: hash(signed) }
}

// A proof of equivocation: the key it convicts
export const checkProof = ({ one, other }, swarm) => {
  try {
    const [first, second] = [one, other].map((bytes) => openEnvelope(bytes, swarm))
    if (hex(first.key) === hex(second.key) && first.sequence === second.sequence && !first.id.equals(second.id)) return first.key
  } catch (error) {
    if (!(error instanceof Refusal)) throw error
  }
  return refuse('false-proof', 'no proof')
}

// Log sync
export const readHeadsRequest = (bytes) => {
  const [swarm, start, count] = array(decode(bytes, 128, 5, 1), 'request', 3)
  return { swarm: binary(swarm, 'swarm', 32), start: binary(start, 'start', 32), count: integer(count, 'count', 1n, 1024n) }
}
export const readLogRequest = (bytes) => {
  const [swarm, key, first, count] = array(decode(bytes, 128, 5, 1), 'request', 4)
  return {
    swarm: binary(swarm, 'swarm', 32),
    key: binary(key, 'key', 32),
    first: integer(first, 'first'),
    count: integer(count, 'count', 1n, 256n),
  }
}
export const readHeads = (bytes, { start, count }) => {
  const heads = array(decode(bytes, 128 * 1024, 1 + 1024 * 5, 2), 'heads', 0, Number(count)).map((item) => {
    const [key, first, last, id] = array(item, 'head', 4)
    return {
      key: binary(key, 'key', 32),
      first: integer(first, 'first'),
      last: integer(last, 'last', first),
      id: binary(id, 'id', 32),
    }
  })
  heads.forEach(({ key }, n) => {
    schema(n === 0 ? Buffer.compare(key, start) >= 0 : Buffer.compare(key, heads[n - 1].key) > 0, key, 'ascending')
  })
  return heads
}
export const readLog = (bytes, { swarm, key, first, count }) => {
  const envelopes = []
  let least = first
  for (const item of array(decode(bytes, 2 ** 20, 1 + 256, 1), 'log', 0, Number(count))) {
    schema(item instanceof Uint8Array && item.length <= 768 * 1024, item, 'envelope')
    const envelope = openEnvelope(item, swarm)
    const { sequence, previous } = envelope
    schema(hex(envelope.key) === hex(key) && sequence >= least && sequence < first + count, envelope, 'as asked for')
    if (envelopes.length > 0 && sequence === least && hex(previous) !== hex(envelopes.at(-1).id)) refuse('chain', 'previous')
    envelopes.push(envelope)
    least = sequence + 1n
  }
  return envelopes
}

export const seal = (secret, swarm, { version, kind, key, sequence, previous, time_ms: timeMs, body }) => {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), secret])
  const fields = [version, kind, key, sequence, previous, timeMs, body]
  const signature = ed25519Sign(null, signedBytes(swarm, fields), createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }))
  return encode([...fields, signature])
}

const PEER_PREFIX = '002408011220'
export const peerId = (key) => base58btc.baseEncode(Buffer.concat([Buffer.from(PEER_PREFIX, 'hex'), key]))
export const publicKey = (id) => {
  let raw = ''
  try {
    raw = hex(base58btc.baseDecode(id))
  } catch { /* not base58 */ }
  return Buffer.from(schema(id.length === 52 && raw.length === 76 && raw.startsWith(PEER_PREFIX), raw, 'peer id').slice(12), 'hex')
}

export const readInvite = (string) => {
  const invite = string.replace(/^[ \t\r\n]+|[ \t\r\n]+$/g, '')
  if (invite.length > 8192) refuse('too-large', 'invite')
  if (!invite.startsWith('swarmd1:')) refuse(/^swarmd[0-9]+:/.test(invite) ? 'version' : 'malformed', 'prefix')
  const armoured = invite.slice(8)
  if (!/^[A-Za-z0-9_-]*$/.test(armoured) || armoured.length % 4 === 1) refuse('malformed', 'alphabet')
  const raw = Buffer.from(armoured, 'base64url')
  if (raw.toString('base64url') !== armoured) refuse('not-canonical', 'unused bits')
  const payload = raw.subarray(0, -4)
  if (!hash(domain('invite'), payload).subarray(0, 4).equals(raw.subarray(-4))) refuse('checksum', 'invite')
  const [manifestId, addresses] = array(decode(payload, 8192, 24, 2), 'invite', 2)
  array(addresses, 'addresses', 0, 16).forEach((address) => {
    name(address, 'address', /^(?=.{1,256}$)(\/[!-.0-~]+)+\/p2p\/[^/]+$/)
    publicKey(address.slice(address.lastIndexOf('/') + 1))
  })
  return { manifest_id: binary(manifestId, 'manifest id', 32), addresses }
}

// Manifests
const keys = (table, required, optional = []) => {
  schema(Object.getPrototypeOf(table ?? 0) === Object.prototype || Object.getPrototypeOf(table ?? 0) === null, table, 'table')
  for (const key of Object.keys(table)) schema([...required, ...optional].includes(key), key, 'unknown key')
  for (const key of required) schema(key in table, key, 'missing key')
  return table
}
const range = (table, least, most) => {
  const { min, max } = keys(table, ['min', 'max'])
  return [integer(min, 'min', least, integer(max, 'max', least, most)), max]
}
const ordered = (list, key) => {
  const sorted = [...list].sort((one, other) => key(one) < key(other) ? -1 : 1)
  sorted.slice(1).forEach((item, n) => schema(key(item) !== key(sorted[n]), key(item), 'twice'))
  return sorted
}
const rule = (table) => {
  const { name: environment, version, parameters = {} } = keys(table, ['name', 'version'], ['parameters'])
  const settings = Object.entries(keys(parameters, [], Object.keys(parameters))).map(([key, setting]) => [
    name(key, 'parameter', PARAMETER),
    typeof setting === 'object' ? range(setting, -MAX_INTEGER, MAX_INTEGER) : [parameterValue(setting)],
  ])
  array(settings, 'parameters', 0, 16)
  return [name(environment, 'environment', ENVIRONMENT), name(version, 'version', VERSION), ordered(settings, ([key]) => key)]
}

const chainOf = ({ drand_chain: named, drand_info: info }) => {
  const chain = info === undefined ? QUICKNET : readChain(keys(info, ['public_key', 'genesis_time', 'period', 'group_hash', 'beacon_id']))
  schema(named === hex(chain.hash), named, 'drand_chain')
  return chain
}

const manifestArray = (toml) => {
  schema(Buffer.byteLength(toml) <= 64 * 1024, toml, 'manifest')
  const table = keys(parse(toml, { integersAsBigInt: true }), ['protocol', 'name', 'epoch_seconds', 'tasks_per_epoch', 'group_size',
    'max_completion_chars', 'max_completion_tokens', 'max_groups_per_share', 'renderings', 'environment'],
  ['description', 'beacon', 'drand_chain', 'drand_info'])
  const { beacon = 'local', description = '' } = table
  schema(beacon === 'local' || beacon === 'drand', beacon, 'beacon')
  const chain = beacon === 'drand' ? chainOf(table) : schema(!('drand_chain' in table || 'drand_info' in table), table, 'chain')
  schema(!chain.hash || table.epoch_seconds >= chain.period, table.epoch_seconds, 'epoch shorter than a period')
  return [
    integer(table.protocol, 'protocol', 1n, 1n),
    text(table.name, 'name', 64),
    text(description, 'description', 1024),
    integer(table.epoch_seconds, 'epoch_seconds', 1n, 31_536_000n),
    [beacon, chain.hash ?? Buffer.alloc(0)],
    integer(table.tasks_per_epoch, 'tasks_per_epoch', 1n),
    range(table.group_size, 1n, 64n),
    integer(table.max_completion_chars, 'max_completion_chars', 1n, 262_144n),
    integer(table.max_completion_tokens, 'max_completion_tokens', 1n),
    integer(table.max_groups_per_share, 'max_groups_per_share', 1n, 128n),
    ordered(array(table.renderings, 'renderings', 1, 8).map((item) => name(item, 'rendering', RENDERING)), (item) => item),
    ordered(array(table.environment, 'environment', 1, 256).map(rule), ([environment]) => environment),
  ]
}

export const readManifest = (toml) => {
  try {
    const fields = manifestArray(toml)
    const bytes = encode(fields)
    const id = hash(domain('manifest'), bytes)
    return { bytes, id, topic: `/swarmd/1/${hex(id)}/rollouts`, epochOf: (ms) => BigInt(ms) / (fields[3] * 1000n), fields }
  } catch (error) {
    if (!(error instanceof Refusal || error instanceof TomlError)) throw error
    return refuse('manifest', error.message)
  }
}

export const permits = ({ fields }, { environment, version, parameters, index }) => {
  const found = fields[11].find(([named]) => named === environment)
  if (!found) return 'unknown-environment'
  if (found[1] !== version) return 'environment-version'
  const fits = ([key, [least, most]], [asked, value]) => key === asked &&
    (most === undefined ? value === least : typeof value === 'bigint' && value >= least && value <= most)
  if (parameters.length !== found[2].length || !parameters.every((pair, n) => fits(found[2][n], pair))) return 'parameter'
  return index >= fields[5] ? 'index' : null
}
