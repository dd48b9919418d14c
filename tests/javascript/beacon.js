// Public randomness by protocols/README.md, section 2: chains, their rounds, and the value of an epoch.
import { createHash } from 'node:crypto'
import { bls12_381 as bls } from '@noble/curves/bls12-381.js'
import { refuse } from './codec.js'

const SUITE = 'BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_'
const MAX_INTEGER = 2n ** 53n - 1n
const hash = (...parts) => createHash('sha256').update(Buffer.concat(parts)).digest()
const uint64 = (number) => { const bytes = Buffer.alloc(8); bytes.writeBigUInt64BE(BigInt(number)); return bytes }

const hexadecimal = (value, size) =>
  typeof value === 'string' && value.length === 2 * size && /^[0-9a-f]*$/.test(value) ? Buffer.from(value, 'hex') : refuse('schema', value)
const between = (value, least, most) => typeof value === 'bigint' && value >= least && value <= most ? value : refuse('schema', value)

// From drand_info, its integers as bigints.
export const readChain = ({ public_key: key, genesis_time: genesis, period, group_hash: group, beacon_id: id }) => {
  if (typeof id !== 'string' || !/^[!-~]{1,64}$/.test(id)) refuse('schema', id)
  const chain = {
    publicKey: hexadecimal(key, 96),
    genesis: between(genesis, 0n, MAX_INTEGER),
    period: between(period, 1n, 31_536_000n),
  }
  const seconds = Buffer.alloc(4)
  seconds.writeUInt32BE(Number(period))
  const name = Buffer.from(id === 'default' ? '' : id)
  return { ...chain, hash: hash(seconds, uint64(genesis), chain.publicKey, hexadecimal(group, 32), name) }
}

export const QUICKNET = readChain({
  public_key: '83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d106451' +
    '0d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a',
  genesis_time: 1_692_803_367n,
  period: 3n,
  group_hash: 'f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e',
  beacon_id: 'quicknet',
})

export const roundOfEpoch = (chain, epochSeconds, epoch) => {
  const waited = BigInt(epoch) * BigInt(epochSeconds) - chain.genesis
  return waited <= 0n ? 1n : 1n + (waited + chain.period - 1n) / chain.period
}

export const verifyRound = (chain, round, signature) => {
  if (signature.length !== 48 || round < 1 || BigInt(round) > MAX_INTEGER) refuse('beacon', 'size or round')
  let good = false
  try {
    const point = bls.G1.Point.fromBytes(signature)
    point.assertValidity()
    good = !point.is0() && point.isTorsionFree() &&
      bls.shortSignatures.verify(point, bls.shortSignatures.hash(hash(uint64(round)), SUITE), chain.publicKey)
  } catch { /* no point of the group */ }
  return good ? hash(signature) : refuse('beacon', 'does not fit')
}

export const drandBeacon = (manifestId, epoch, randomness) => hash(Buffer.from('swarmd/1/drand\0'), manifestId, uint64(epoch), randomness)
