// A signer's log in one swarm: shares that any peer admits, and forgeries that every peer refuses, each for its own reason.
import { createHash, createPrivateKey, createPublicKey } from 'node:crypto'
import { encode } from '../codec.js'
import * as wire from '../wire.js'

const NOTHING = Buffer.alloc(32)
const SHARE = 1n
const ANNOUNCE = 2n
const POLICY = ['javascript', createHash('sha256').update('no weights').digest(), 0n]
const sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const publicKey = (secret) => {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), secret])
  const { x } = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })).export({ format: 'jwk' })
  return Buffer.from(x, 'base64url')
}

export class Log {
  constructor (secret, manifest) {
    this.secret = secret
    this.manifest = manifest
    this.key = publicKey(secret)
    this.sequence = 0n
    this.previous = NOTHING
    this.epoch = -1n
    this.nextIndex = 0n
  }

  // The next `count` tasks of the current epoch: these environments in turn, each with its least parameters, indices without gaps.
  propose (count, names) {
    const epoch = this.manifest.epochOf(Date.now())
    if (epoch !== this.epoch) [this.epoch, this.nextIndex] = [epoch, 0n]
    const environments = this.manifest.fields[11].filter(([name]) => names.includes(name))
    return Array.from({ length: count }, (_, n) => {
      const index = this.nextIndex + BigInt(n)
      const [environment, version, rules] = environments[Number(index % BigInt(environments.length))]
      const parameters = rules.map(([name, [least]]) => [name, least])
      return { environment, version, parameters, epoch, proposer: this.key, index }
    })
  }

  seed (recipe) {
    return wire.seed(recipe, wire.localBeacon(this.manifest.id, recipe.epoch))
  }

  // The body of a share: every recipe with the texts that answer it and the rewards claimed for them.
  body (recipes, answers) {
    const groups = recipes.map((recipe, n) => [
      [recipe.environment, recipe.version, recipe.parameters, recipe.epoch, recipe.proposer, recipe.index],
      'compact',
      POLICY,
      answers[n].texts.map((text) => [text, true, BigInt(text.length + 1), -1.5]),
      answers[n].rewards,
    ])
    const [first, last] = [recipes[0].index, recipes.at(-1).index]
    return encode([this.sequence, recipes[0].epoch, first, last + 1n - first, groups])
  }

  // Signed as the log's next entry; `changes` are what a forger would say instead.
  seal (body, changes = {}, swarm = this.manifest.id) {
    const { sequence, previous, key } = this
    const fields = { version: 1n, kind: SHARE, key, sequence, previous, time_ms: BigInt(Date.now()), body, ...changes }
    return wire.seal(this.secret, swarm, fields)
  }

  // The log's next envelope with an honest share; the log moves on.
  append (recipes, answers) {
    return this.#entry(this.seal(this.body(recipes, answers)), recipes)
  }

  // The same with a body that is pulled: [envelope, body].
  announce (recipes, answers) {
    const body = this.body(recipes, answers)
    const announced = encode([sha256(body), BigInt(body.length)])
    return [this.#entry(this.seal(announced, { kind: ANNOUNCE }), recipes), body]
  }

  #entry (bytes, recipes) {
    const { id } = wire.openEnvelope(bytes, this.manifest.id)
    this.newest = { sequence: this.sequence, previous: this.previous }
    this.sequence += 1n
    this.previous = id
    this.nextIndex = recipes.at(-1).index + 1n
    return bytes
  }
}

// name: (log, recipes, answers) -> bytes on the wire. None of these moves the log.
export const FORGERIES = {
  signature: (log, recipes, answers) => {
    const bytes = log.seal(log.body(recipes, answers))
    bytes[bytes.length - 1] ^= 1
    return bytes
  },
  'foreign-swarm': (log, recipes, answers) => log.seal(log.body(recipes, answers), {}, sha256('another swarm')),
  'anothers-key': (log, recipes, answers) => log.seal(log.body(recipes, answers), { key: publicKey(sha256('somebody')) }),
  chain: (log, recipes, answers) => log.seal(log.body(recipes, answers), { previous: sha256('another past') }),
  // The version as a byte after a head byte that it does not need.
  'not-canonical': (log, recipes, answers) => {
    const bytes = log.seal(log.body(recipes, answers))
    return Buffer.concat([bytes.subarray(0, 2), Buffer.from([0xcc]), bytes.subarray(2)])
  },
  'bytes-left-over': (log, recipes, answers) => Buffer.concat([log.seal(log.body(recipes, answers)), Buffer.from([0xc2])]),
  oversize: (log) => log.seal(Buffer.alloc(800 * 1024)),
  'newer-version': (log, recipes, answers) => log.seal(log.body(recipes, answers), { version: 2n }),
  'newer-kind': (log) => log.seal(Buffer.from([0x90]), { kind: 99n }),
  'no-body': (log) => log.seal(Buffer.from([0x90])),
  'anothers-task': (log, recipes, answers) =>
    log.seal(log.body(recipes.map((recipe) => ({ ...recipe, proposer: sha256('somebody') })), answers)),
  'unknown-environment': (log, recipes, answers) =>
    log.seal(log.body(recipes.map((recipe) => ({ ...recipe, environment: 'javascript/none' })), answers)),
  reward: (log, recipes, answers) =>
    log.seal(log.body(recipes, answers.map(({ texts }) => ({ texts, rewards: texts.map(() => 1) })))),
  // The place of the newest entry once more, with another time.
  equivocation: (log, recipes, answers) =>
    log.seal(log.body(recipes, answers), { ...log.newest, time_ms: BigInt(Date.now() - 1000) }),
  future: (log, recipes, answers) => log.seal(log.body(recipes, answers), { time_ms: BigInt(Date.now() + 3_600_000) }),
}
