// A Grenache RPC client: prints one JSON object of callback results. Usage: node client.js http|ws http://grape name
'use strict'
const [kind, grape, name] = process.argv.slice(2)
const Link = require('grenache-nodejs-link')
const { PeerRPCClient } = require(`grenache-nodejs-${kind}`)

const link = new Link({ grape })
link.start()
const peer = new PeerRPCClient(link, {})
peer.init()
const call = (method, ...args) => new Promise(resolve =>
  peer[method](...args, (err, res) => resolve({ err: err ? err.message : null, res: res === undefined ? null : res })))

async function main () {
  const seen = {}
  seen.request = await call('request', name, { hello: 'wörld', n: [1, 2.5, null] }, { timeout: 10000 })
  seen.failure = await call('request', name, { fail: true }, { timeout: 10000 })
  if (kind === 'http') seen.gzip = await call('request', name, 'x'.repeat(5000), { timeout: 10000, compress: true })
  seen.map = await call('map', name, 'all', { timeout: 10000 })
  seen.nobody = await call('request', 'nobody', {}, { timeout: 10000 })
  console.log(JSON.stringify(seen))
  peer.stop()
  link.stop()
  process.exit(0)
}
main()
