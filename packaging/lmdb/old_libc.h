// In front of every file of lmdb, so that the library asks for the symbols of glibc 2.31 (Ubuntu 20.04, JetPack 5) where the compiler's
// own glibc has newer versions of the same functions: 2.34 took libpthread into libc and dated its functions anew. The prebuilt
// library that comes with lmdb does not load before 2.34. `scripts/symbol-versions.mjs` says what is missing here.
#pragma once
#if defined(__x86_64__)
#define OLD(function, x64) __asm__(".symver " #function "," #function "@GLIBC_" x64);
#else
// The first glibc with AArch64 is 2.17.
#define OLD(function, x64) __asm__(".symver " #function "," #function "@GLIBC_2.17");
#endif
OLD(pthread_create, "2.2.5")
OLD(pthread_join, "2.2.5")
OLD(pthread_sigmask, "2.2.5")
OLD(pthread_key_create, "2.2.5")
OLD(pthread_key_delete, "2.2.5")
OLD(pthread_getspecific, "2.2.5")
OLD(pthread_setspecific, "2.2.5")
OLD(pthread_condattr_setclock, "2.3.3")
OLD(pthread_mutexattr_init, "2.2.5")
OLD(pthread_mutexattr_destroy, "2.2.5")
OLD(pthread_mutexattr_setpshared, "2.2.5")
OLD(pthread_mutexattr_setrobust, "2.12")
OLD(pthread_mutex_consistent, "2.12")
