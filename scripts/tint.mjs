// Compiles the shaders of a folder with Tint, Chrome's WGSL compiler, and checks them with Dawn, its WebGPU. The
// device has WebGPU's default limits and no driver: it checks modules and pipelines and generates no code.
//
//   node scripts/tint.mjs WEBGPU/index.js FOLDER
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [library, folder] = process.argv.slice(2);
const { create } = await import(pathToFileURL(resolve(library)));
const gpu = create(['backend=null']);
const device = await (await gpu.requestAdapter()).requestDevice();

// Where a line of a shader comes from: a line `//@ FILE` stands before each part of its text.
function place(code, line) {
    const lines = code.split('\n').slice(0, line);
    const mark = lines.findLastIndex((text) => text.startsWith('//@ '));
    return mark < 0 ? `${line}` : `${lines[mark].slice(4)}:${line - mark - 1}`;
}

// What is wrong with a shader, in words; empty if nothing is.
async function check(code) {
    const entries = [...code.matchAll(/^@compute\b.*?\bfn\s+(\w+)/gms)].map((match) => match[1]);
    if (entries.length === 0) return ['no entry point'];
    device.pushErrorScope('validation');
    const module = device.createShaderModule({ code });
    const { messages } = await module.getCompilationInfo();
    const wrong = messages.map((m) => `${place(code, m.lineNum)}:${m.linePos} ${m.type}: ${m.message}`);
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
