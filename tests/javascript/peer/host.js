// A libp2p host as protocols/README.md, section 6, asks for: TCP, Noise, Yamux, identify, ping, GossipSub 1.1 without signatures, and requests.
import './node20.js'
import { createHash } from 'node:crypto'
import { generateKeyPairFromSeed } from '@libp2p/crypto/keys'
import { gossipsub, StrictNoSign } from '@libp2p/gossipsub'
import { identify } from '@libp2p/identify'
import { noise } from '@libp2p/noise'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

export const MAX_ENVELOPE_BYTES = 768 * 1024
const MAX_FRAME_BYTES = 8 * 2 ** 20

// The host's identity is the key that signs the envelopes.
export const openHost = async (secret) => createLibp2p({
  privateKey: await generateKeyPairFromSeed('Ed25519', secret),
  addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
  transports: [tcp()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux()],
  services: {
    identify: identify(),
    ping: ping(),
    gossip: gossipsub({
      globalSignaturePolicy: StrictNoSign,
      msgIdFn: ({ data }) => createHash('sha256').update(data).digest(),
      fallbackToFloodsub: false,
      allowPublishToZeroTopicPeers: true,
    }),
  },
})

const framed = (bytes) => {
  const head = Buffer.alloc(4)
  head.writeUInt32BE(bytes.length)
  return Buffer.concat([head, bytes])
}

// One frame: a length of four bytes, big-endian, and that many bytes.
const readFrame = async (stream, limit) => {
  let arrived = Buffer.alloc(0)
  for await (const chunk of stream) {
    arrived = Buffer.concat([arrived, chunk.subarray()])
    if (arrived.length < 4) continue
    const size = arrived.readUInt32BE()
    if (size > limit) throw new Error(`a frame of ${size} bytes, over ${limit}`)
    if (arrived.length >= 4 + size) return arrived.subarray(4, 4 + size)
  }
  throw new Error('the stream ended early')
}

// One frame there, one frame back, on a stream of its own.
export const request = async (host, peerAddress, protocol, bytes, limit = MAX_FRAME_BYTES) => {
  const stream = await host.dialProtocol(multiaddr(peerAddress), protocol, { signal: AbortSignal.timeout(10_000) })
  try {
    stream.send(framed(bytes))
    const answer = await readFrame(stream, limit)
    await stream.close()
    return answer
  } catch (error) {
    stream.abort(error)
    throw error
  }
}

// `answer` is given the request and the peer's id; what it throws resets the stream.
export const serve = (host, protocol, limit, answer) => host.handle(protocol, async (stream, connection) => {
  try {
    stream.send(framed(await answer(await readFrame(stream, limit), connection.remotePeer)))
    await stream.close()
  } catch (error) {
    stream.abort(error)
  }
})
