/* The processors for which the code is compiled, all in one binary. */

#ifndef TORCHDIVERGENCE_MACHINE_H
#define TORCHDIVERGENCE_MACHINE_H

#define NOINLINE __attribute__((noinline))

#ifdef __x86_64__

/* For a function with fused multiply-adds, which every supported machine has. */
#define FUSED __attribute__((target("avx2,fma")))
#define WIDE __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")))

#define SUPPORTS __builtin_cpu_supports
static inline int is_supported_machine(void) { return SUPPORTS("avx2") && SUPPORTS("fma"); }
static inline int has_avx512(void) {
    return SUPPORTS("avx512f") && SUPPORTS("avx512bw") && SUPPORTS("avx512dq") && SUPPORTS("avx512vl");
}
#undef SUPPORTS

/* Defines run_NAME: the inline function NAME, compiled for each width of the vector registers, and the choice of the
   widest that the machine has. A function of its own for each pass keeps the compiler fast. */
#define DEFINE_PASS(type, name, parameters, arguments) \
    FUSED NOINLINE static type name##_avx2 parameters { return name arguments; } \
    WIDE NOINLINE static type name##_avx512 parameters { return name arguments; } \
    FUSED static inline type run_##name parameters { \
        return has_avx512() ? name##_avx512 arguments : name##_avx2 arguments; \
    }

#else

#define FUSED
#define DEFINE_PASS(type, name, parameters, arguments) \
    NOINLINE static type run_##name parameters { return name arguments; }

static inline int is_supported_machine(void) { return 1; }

#endif

#endif
