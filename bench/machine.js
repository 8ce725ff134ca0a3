/** What Linux says of the memory and the CPU time of processes and of the kernel. */
import { readdirSync, readFileSync } from 'node:fs';

const read = path => readFileSync(path, 'utf8');
const sum = numbers => numbers.reduce((all, one) => all + one, 0);

/** Resident memory, KiB. */
export const rss = pids =>
  sum(pids.map(pid => Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))[1])));

/** CPU time of all threads, s. The kernel counts it in ns. */
export const cpu = pids =>
  sum(
    pids.flatMap(pid =>
      readdirSync(`/proc/${pid}/task`).map(
        id => Number(read(`/proc/${pid}/task/${id}/schedstat`).split(' ')[0]) / 1e9,
      ),
    ),
  );

/** CPU time of the whole machine that was not idle, s; interrupts count here, and in no process. */
export function busy() {
  const [user, nice, system, , , irq, softirq] = read('/proc/stat').split('\n')[0].match(/\d+/g).map(Number);
  return (user + nice + system + irq + softirq) / 100;
}

/** Memory that the kernel uses for itself, KiB, and that of socket buffers. */
export function kernel() {
  const info = read('/proc/meminfo');
  const kib = name => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(info)[1]);
  const buffers = Number(/^TCP:.* mem (\d+)/m.exec(read('/proc/net/sockstat'))[1]) * 4;
  return { slab: kib('Slab'), pageTables: kib('PageTables'), buffers, available: kib('MemAvailable') };
}
