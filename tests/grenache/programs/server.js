// A Grenache RPC service. Usage: node server.js http|ws http://grape name port
'use strict'
const [kind, grape, name, port] = process.argv.slice(2)
const Link = require('grenache-nodejs-link')
const { PeerRPCServer } = require(`grenache-nodejs-${kind}`)

const link = new Link({ grape })
link.start()
const peer = new PeerRPCServer(link, { timeout: 300000 })
peer.init()
const service = peer.transport('server')
service.listen(Number(port))
service.on('request', (rid, key, payload, handler) => {
  if (payload && payload.fail) return handler.reply(new Error('ERR_ON_PURPOSE'), null)
  handler.reply(null, { from: Number(port), key, echo: payload })
})
link.startAnnouncing(name, service.port, { interval: 1000 }, (err) => console.log(err ? err.message : 'announced'))
