// Trades as any Grenache client would: prints one JSON object of callback results. Usage: node trade.js http://grape
'use strict'
const Link = require('grenache-nodejs-link')
const { PeerRPCClient } = require('grenache-nodejs-http')

const link = new Link({ grape: process.argv[2] })
link.start()
const peer = new PeerRPCClient(link, {})
peer.init()
const call = payload => new Promise(resolve =>
  peer.request('dhtex:BTC-USD', payload, { timeout: 10000 }, (err, res) => resolve(err ? err.message : res)))

async function main () {
  const order = { side: 'buy', quantity: '100', price: '50' }
  console.log(JSON.stringify({
    placed: await call({ action: 'place', order, wait: 'final' }),
    refused: await call({ action: 'place', order: { ...order, price: '1.001' } }),
    book: await call({ action: 'book' })
  }))
  peer.stop()
  link.stop()
  process.exit(0)
}
main()
