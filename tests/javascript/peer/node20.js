// js-libp2p 3 asks for Node.js 22; this is all that 20 lacks of what is used here.
Promise.withResolvers ??= function () {
  const deferred = {}
  deferred.promise = new this((resolve, reject) => Object.assign(deferred, { resolve, reject }))
  return deferred
}
