/** Of the configuration's keys. Rises when a key changes its meaning or goes; not when one is added. */
export const CONFIG_VERSION = 1;
