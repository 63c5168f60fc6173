// Chrome's compiler of WGSL, Tint, and the checks of its WebGPU, Dawn, over the shaders of a folder, in a device
// with WebGPU's default limits that has no driver behind it: it checks modules and pipelines, and makes no code.
//
//   node scripts/tint.mjs WEBGPU/index.js FOLDER
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [library, folder] = process.argv.slice(2);
const { create } = await import(pathToFileURL(resolve(library)));
const gpu = create(['backend=null']);
const device = await (await gpu.requestAdapter()).requestDevice();

// What is wrong with a shader, in words; empty if nothing is.
async function check(code) {
    const entries = [...code.matchAll(/^@compute\b.*?\bfn\s+(\w+)/gms)].map((match) => match[1]);
    if (entries.length === 0) return ['no entry point'];
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const wrong = messages.map((m) => `${m.lineNum}:${m.linePos} ${m.type}: ${m.message}`);
    for (const entryPoint of entries) {
        device.createComputePipeline({ layout: 'auto', compute: { module, entryPoint } });
    }
    const error = await device.popErrorScope();
    if (error) wrong.push(error.message);
    pipelines += entries.length;
    return wrong;
}

let [passed, failed, pipelines] = [0, 0, 0];
for (const file of readdirSync(folder).sort()) {
    const wrong = await check(readFileSync(join(folder, file), 'utf8'));
    for (const message of wrong) console.error(`${join(folder, file)}: ${message}`);
    if (wrong.length === 0) passed += 1;
    else failed += 1;
}
device.destroy();
console.log(`${passed} of ${passed + failed} files, ${pipelines} pipelines`);
process.exit(failed === 0 && passed > 0 ? 0 : 1);
