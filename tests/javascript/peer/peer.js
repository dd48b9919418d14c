// A peer of a swarm, written from protocols/README.md and the vectors. It is told what to do by lines of JSON on its standard
// input, {"do": verb, …}, and answers each with one line. Environments are Python's, so it is handed texts and rewards for its tasks.
import { createHash } from 'node:crypto'
import { createInterface } from 'node:readline'
import { multiaddr } from '@multiformats/multiaddr'
import { TopicValidatorResult } from '@libp2p/gossipsub'
import { decode, encode, Refusal } from '../codec.js'
import * as wire from '../wire.js'
import { openHost, request, serve } from './host.js'
import { FORGERIES, Log } from './log.js'

const hex = (bytes) => Buffer.from(bytes).toString('hex')
const sha256 = (bytes) => createHash('sha256').update(bytes).digest()
const bodies = new Map()
const received = []
const refused = {}
const known = new Map()
const forgers = new Map()
const convicted = new Set()
let host, log, manifest, toml, proposed

const ownAddresses = () => host.getMultiaddrs().map(String)

const learn = (lists) => {
  for (const addresses of lists) {
    if (addresses.length > 0) known.set(multiaddr(addresses[0]).getComponents().at(-1).value, addresses.slice(0, 8))
  }
}

// Ask a new connection whom it knows; it is told where this peer listens.
const exchange = async (peer) => {
  const asked = encode([manifest.topic, ownAddresses()])
  learn(decode(await request(host, peer, '/swarmd/1/peers', asked, 65536), 65536))
}

const answerPeers = (bytes, peer) => {
  const [topic, addresses] = decode(bytes, 65536)
  if (topic !== manifest.topic) throw new Error('another swarm')
  learn([addresses.filter((address) => address.endsWith(`/p2p/${peer}`))])
  return encode([...known].filter(([id]) => id !== peer.toString()).slice(0, 32).map(([, each]) => each))
}

const count = (error) => {
  if (!(error instanceof Refusal)) throw error
  refused[error.reason] = (refused[error.reason] ?? 0) + 1
  return error.reason
}

// A body of kind 3 convicts the signer of two envelopes in one place.
const convict = (proof) => convicted.add(wire.peerId(wire.checkProof(proof, manifest.id)))

const keep = (peer, envelope, share) => received.push({
  id: hex(envelope.id),
  signer: wire.peerId(envelope.key),
  forwarder: peer.toString(),
  sequence: Number(envelope.sequence),
  previous: hex(envelope.previous),
  announced: envelope.kind === 2n,
  groups: share.groups.map(({ recipe, completions, rewards }) => ({
    recipe: hex(wire.recipeBytes(recipe)),
    seed: String(log.seed(recipe)),
    texts: completions.map(({ text }) => text),
    rewards,
  })),
})

// A body announced by hash is pulled from whoever forwarded the announcement.
const pull = async (peer, envelope, { body_hash: wanted, body_bytes: size }) => {
  const body = await request(host, `/p2p/${peer}`, '/swarmd/1/body', wanted, Number(size))
  if (!sha256(body).equals(wanted)) throw new Refusal('body-mismatch', 'body')
  keep(peer, envelope, wire.readBody(1n, body, envelope.key))
}

// GossipSub's validator: envelope and body are checked before anything is forwarded.
const judge = (peer, { data }) => {
  try {
    const envelope = wire.openEnvelope(Buffer.from(data), manifest.id)
    const body = wire.readBody(envelope.kind, envelope.body, envelope.key)
    if (envelope.kind === 1n) keep(peer, envelope, body)
    if (envelope.kind === 2n) pull(peer, envelope, body).catch(() => {})
    if (envelope.kind === 3n) convict(body)
    return TopicValidatorResult.Accept
  } catch (error) {
    return ['version', 'kind'].includes(count(error)) ? TopicValidatorResult.Ignore : TopicValidatorResult.Reject
  }
}

const holder = (bytes) => {
  if (!bodies.has(hex(bytes))) throw new Error('not held here')
  return bodies.get(hex(bytes))
}

const publish = async (bytes) => {
  const { recipients } = await host.services.gossip.publish(manifest.topic, bytes)
  return { bytes: bytes.length, recipients: recipients.map(String) }
}

const verbs = {
  async open ({ secret }) {
    host = await openHost(Buffer.from(secret, 'hex'))
    return { peer_id: host.peerId.toString(), addresses: ownAddresses() }
  },

  // From an invite to a member: the rules are asked of the first who answers, and checked against the id in the invite.
  async join ({ invite, secret, only }) {
    const { manifest_id: id, addresses } = wire.readInvite(invite)
    const holders = only ? [`/p2p/${only}`] : addresses
    toml = (await Promise.any(holders.map((each) => request(host, each, '/swarmd/1/manifest', id, 65536)))).toString()
    manifest = wire.readManifest(toml)
    if (!manifest.id.equals(id)) throw new Error('the manifest is not the one of the invite')
    log = new Log(Buffer.from(secret, 'hex'), manifest)
    serve(host, '/swarmd/1/manifest', 32, (asked) => {
      if (!manifest.id.equals(asked)) throw new Error('another swarm')
      return Buffer.from(toml)
    })
    serve(host, '/swarmd/1/body', 32, holder)
    serve(host, '/swarmd/1/peers', 65536, answerPeers)
    host.services.gossip.topicValidators.set(manifest.topic, judge)
    host.services.gossip.subscribe(manifest.topic)
    host.addEventListener('peer:connect', ({ detail: peer }) => exchange(`/p2p/${peer}`).catch(() => {}))
    await Promise.all(host.getPeers().map((peer) => exchange(`/p2p/${peer}`)))
    return { topic: manifest.topic, known: [...known.keys()] }
  },

  async state () {
    const { gossip } = host.services
    return {
      connections: host.getConnections().map(({ remotePeer, direction }) => ({ peer_id: remotePeer.toString(), direction })),
      subscribers: manifest ? gossip.getSubscribers(manifest.topic).map(String) : [],
      known: [...known.keys()],
      received,
      refused,
      convicted: [...convicted],
    }
  },

  async ping ({ peer_id: peer }) {
    return { ms: await host.services.ping.ping(multiaddr(`/p2p/${peer}`)) }
  },

  async dial ({ address }) {
    await host.dial(multiaddr(address))
    return {}
  },

  // The next tasks; `forger` names an identity of its own, so that what it does is not held against this peer.
  async propose ({ count, environments, forger }) {
    if (forger && !forgers.has(forger)) forgers.set(forger, new Log(sha256(`forger ${forger}`), manifest))
    const own = forger ? forgers.get(forger) : log
    proposed = { log: own, recipes: own.propose(count, environments) }
    return {
      signer: wire.peerId(own.key),
      recipes: proposed.recipes.map((recipe) => ({ bytes: hex(wire.recipeBytes(recipe)), seed: String(own.seed(recipe)) })),
    }
  },

  async share ({ answers }) {
    return publish(proposed.log.append(proposed.recipes, answers))
  },

  async announce ({ answers }) {
    const [envelope, body] = proposed.log.announce(proposed.recipes, answers)
    bodies.set(hex(sha256(body)), body)
    return publish(envelope)
  },

  async forge ({ how, answers }) {
    return publish(FORGERIES[how](proposed.log, proposed.recipes, answers))
  },
}

for await (const line of createInterface({ input: process.stdin })) {
  const { do: verb, ...options } = JSON.parse(line)
  try {
    console.log(JSON.stringify({ ok: await verbs[verb](options) }))
  } catch (error) {
    console.log(JSON.stringify({ error: String(error.stack ?? error) }))
  }
}
process.exit(0)
