// Preloaded by a test: a machine on which npm has dropped the optional tfjs-node.
const { Module } = require("node:module");

const resolve = Module._resolveFilename;
Module._resolveFilename = (request, ...rest) => {
  if (request !== "@tensorflow/tfjs-node") return resolve(request, ...rest);
  throw new Error(`Cannot find module '${request}'\nRequire stack:\n- elsewhere`);
};
