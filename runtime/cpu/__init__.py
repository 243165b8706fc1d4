"""Running on a CPU: builtins, compiler, object cache, launch list, threads."""
