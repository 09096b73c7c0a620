// The files somebody chose or dropped: read out of folders, put in order, and a name for what they make.
const suffix_of = (name) => name.slice(name.lastIndexOf('.')).toLowerCase();
// What operating systems leave in folders.
const is_litter = (path) =>
  path.split('/').some((part) => part === '__MACOSX' || part.startsWith('._')) ||
  /(^|\/)(\.ds_store|thumbs\.db|desktop\.ini)$/i.test(path);
const in_folder = async (entry) => {
  if (entry.isFile)
    return [
      { path: entry.fullPath.slice(1), file: await new Promise((resolve, reject) => entry.file(resolve, reject)) },
    ];
  const reader = entry.createReader(),
    found = [];
  // A reader gives some at a time, and none at the end.
  for (let part; (part = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length;)
    found.push(...part);
  return (await Promise.all(found.map(in_folder))).flat();
};
const dropped = async (transfer) => {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return [...transfer.files].map((file) => ({ path: file.name, file }));
  return (await Promise.all(entries.map(in_folder))).flat();
};
const picked = (input) => [...input.files].map((file) => ({ path: file.webkitRelativePath || file.name, file }));

// Of two copies the first gives the name, and captions go by that: whoever has one goes first, then by name.
const in_order = (items, caption_suffixes) => {
  const stem_of = (path) => path.slice(0, path.length - suffix_of(path).length);
  const captioned = new Set(
    items.filter((item) => caption_suffixes.includes(suffix_of(item.path))).map((item) => stem_of(item.path)),
  );
  const first = (item) => (captioned.has(stem_of(item.path)) ? 0 : 1);
  return items.sort(
    (one, other) => first(one) - first(other) || one.path.localeCompare(other.path, undefined, { numeric: true }),
  );
};

// A new dataset is called as the folder or archive is, else by its day.
const name_for = (items) => {
  const [folder, ...rest] = items[0].path.split('/');
  const archive = items.find((item) => suffix_of(item.path) === '.zip');
  const called = rest.length ? folder : archive ? archive.file.name.slice(0, -4) : '';
  const day = new Date().toLocaleString(undefined, {
    day: 'numeric',
    month: 'long',
    hour: '2-digit',
    minute: '2-digit',
    hour12: false,
  });
  return (called || `Pictures of ${day}`).replace(/[/\\<>:"|?*]/g, '.').slice(0, 80);
};
