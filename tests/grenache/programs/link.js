// What a program sees of a Grape through grenache-nodejs-link: prints one JSON object of callback results.
// Usage: node link.js http://a http://b
'use strict'
const Link = require('grenache-nodejs-link')

const [a, b] = process.argv.slice(2).map(grape => new Link({ grape, requestTimeout: 10000 }).start())
const call = (link, method, ...args) => new Promise(resolve =>
  link[method](...args, (err, res) => resolve({ err: err ? err.message : null, code: (err && err.code) || null, res })))
const owner = '8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c'
const sig = '6a65948d7a50b0bd3590e0c298b7efafbd6aa2fdc175144abe8dd94528356192c62c00848f1be1e9b9be68b6ffc39e53cefa3ba28e3ea65838d26033e397a208'
const mutable = { v: 'hello 1', k: Buffer.from(owner, 'hex'), seq: 1, sig: Buffer.from(sig, 'hex') }
const odd = {
  list: { v: ['a', 1, ['b']] },
  buffer: { v: Buffer.from('hi') },
  noValue: { x: 1 },
  shortKey: { ...mutable, k: 'ab' },
  noSignature: { ...mutable, sig: undefined },
  longSalt: { ...mutable, salt: 's'.repeat(65) },
  noSequence: { ...mutable, seq: undefined },
  casText: { ...mutable, cas: '1' }
}

async function main () {
  const seen = {}
  seen.announce = await call(a, 'announce', 'rpc_test', 1337, {})
  seen.lookup = await call(b, 'lookup', 'rpc_test', {})
  seen.cached = b.cache.lookup.length
  seen.unknown = await call(b, 'lookup', 'nobody', {})
  seen.badPort = await call(a, 'announce', 'rpc_test', '1337', {})
  seen.badName = await call(a, 'lookup', 5, {})
  seen.put = await call(a, 'put', { v: 'hello world' })
  seen.get = await call(b, 'get', seen.put.res)
  seen.tooLong = await call(a, 'put', { v: 'x'.repeat(1000) })
  for (const [name, data] of Object.entries(odd)) seen[name] = await call(a, 'put', data)
  seen.readList = await call(b, 'get', seen.list.res)
  seen.noHash = await call(b, 'get', { key: 1 })
  seen.noSuchPath = await call(a, 'request', 'nope', 1, {})
  seen.together = await Promise.all(['x', 'x', 'x'].map(name => call(b, 'lookup', name, {})))
  seen.noSuchHash = !!(await call(b, 'get', 'f'.repeat(40))).res
  if (process.env.MUTABLE) {
    seen.mutable = await call(a, 'put', mutable)
    seen.again = await call(a, 'put', mutable)
    seen.mutableGet = await call(b, 'get', { hash: seen.mutable.res })
  }
  await new Promise(resolve => a.startAnnouncing('announced', 1444, { interval: 1000 }, resolve))
  seen.announced = await call(b, 'lookup', 'announced', {})
  seen.twice = a.startAnnouncing('announced', 1444)
  a.stopAnnouncing('announced', 1444)
  console.log(JSON.stringify(seen))
  a.stop()
  b.stop()
}
main()
