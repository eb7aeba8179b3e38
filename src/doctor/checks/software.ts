import { access, constants } from 'node:fs/promises';
import type { Board } from '../../board/board.js';
import { error, type Finding, info, ok, warning } from '../finding.js';

const CHECK = 'jetson';

/** Nodes of the GPU, on JetPack 6 and later and before; one of them is there on every Jetson. */
const GPU_NODES = ['/dev/nvgpu/igpu0/ctrl', '/dev/nvhost-ctrl-gpu', '/dev/nvidia0'];
const NVMAP = '/dev/nvmap';
/** Fences of the host1x, from JetPack 6 on; CUDA opens it. */
const FENCE = '/dev/host1x-fence';

/** Whether a device is there and may be opened by this user. */
export type Access = (file: string) => Promise<'open' | 'denied' | 'missing'>;

async function accessOf(file: string): Promise<'open' | 'denied' | 'missing'> {
  try {
    await access(file, constants.R_OK | constants.W_OK);
    return 'open';
  } catch (cause) {
    return (cause as { code?: string }).code === 'ENOENT' ? 'missing' : 'denied';
  }
}

/** Which board it is, and whether NVIDIA's software on it is whole. */
export async function checkSoftware(board: Board, look: Access = accessOf): Promise<Finding[]> {
  const { model, module, jetpack, release, software, system, kernel } = board;
  const data = {
    model,
    module: module?.name,
    computeCapability: module?.computeCapability,
    l4t: release?.l4t,
    jetpack: jetpack?.version,
    ...software,
    system,
    kernel,
  };
  if (!board.jetson) {
    const machine = [model, system, kernel].filter((part) => part !== undefined).join(', ');
    return [
      info(
        CHECK,
        'NO_JETSON',
        `this is no Jetson (${machine || 'unknown system'}): no TensorRT, the CPU does the work`,
        data,
      ),
    ];
  }
  const name = module?.name ?? model ?? 'an unknown Jetson';
  if (jetpack === undefined || release === undefined) {
    return [
      warning(
        CHECK,
        'JETPACK_UNKNOWN',
        release === undefined
          ? `${name}: no /etc/nv_tegra_release, so the JetPack is not known`
          : `${name}: Jetson Linux ${release.l4t} is of no JetPack that this version knows`,
        'in a container, mount /etc/nv_tegra_release; docs/jetson.md lists the JetPacks that are known',
        data,
      ),
      ...(await gpuAccess(look)),
    ];
  }
  if (/^4/.test(jetpack.version)) {
    return [
      error(
        CHECK,
        'JETPACK_UNSUPPORTED',
        `${name}: JetPack ${jetpack.version} (Jetson Linux ${release.l4t}, Ubuntu ${jetpack.ubuntu}) is too old for Node.js 20`,
        'flash JetPack 5.1 or later',
        data,
      ),
    ];
  }
  const findings: Finding[] = [
    ok(
      CHECK,
      'JETPACK',
      `${name}, JetPack ${jetpack.version} (Jetson Linux ${release.l4t}), ${system ?? 'unknown system'}`,
      data,
    ),
  ];
  if (software.tensorrt === undefined) {
    findings.push(
      warning(
        'tensorrt',
        'TENSORRT_MISSING',
        'TensorRT is not installed: the CPU does the work',
        'sudo apt-get install tensorrt (or nvidia-jetpack, which brings all of it)',
      ),
    );
  } else if (!software.tensorrt.startsWith(`${jetpack.tensorrt}.`)) {
    findings.push(
      warning(
        'tensorrt',
        'TENSORRT_MISMATCH',
        `TensorRT ${software.tensorrt} is not the one of JetPack ${jetpack.version} (${jetpack.tensorrt})`,
        'fine where it was upgraded on purpose; the ONNX Runtime must have been built with the same major version: docs/jetson.md',
        { tensorrt: software.tensorrt, expected: jetpack.tensorrt },
      ),
    );
  } else {
    const { tensorrt, cuda, cudnn } = software;
    findings.push(
      ok('tensorrt', 'TENSORRT', `TensorRT ${tensorrt}, CUDA ${cuda ?? 'not found'}, cuDNN ${cudnn ?? 'not found'}`, {
        tensorrt,
        cuda,
        cudnn,
      }),
    );
  }
  return [...findings, ...(await gpuAccess(look))];
}

async function gpuAccess(look: Access): Promise<Finding[]> {
  const there: { file: string; state: 'open' | 'denied' }[] = [];
  for (const file of [...GPU_NODES, NVMAP, FENCE]) {
    const state = await look(file);
    if (state !== 'missing') there.push({ file, state });
  }
  if (there.length === 0) {
    return [
      warning(
        'gpu',
        'GPU_NODES_MISSING',
        'there is no device of the GPU in /dev',
        'in a container, start it with --runtime nvidia; elsewhere look for nvgpu in dmesg',
      ),
    ];
  }
  const denied = there.filter(({ state }) => state === 'denied').map(({ file }) => file);
  if (denied.length > 0) {
    return [
      error(
        'gpu',
        'GPU_DENIED',
        `this user may not open ${denied.join(', ')}`,
        'sudo usermod -aG video,render $USER and log in again; in a service: the drop-in systemd/drop-ins/gpu-nvidia.conf',
        { denied },
      ),
    ];
  }
  return [ok('gpu', 'GPU_NODES', `the devices of the GPU may be opened (${there.map(({ file }) => file).join(', ')})`)];
}
