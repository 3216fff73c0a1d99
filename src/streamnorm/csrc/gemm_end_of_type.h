/* Takes back what gemm_levels.h defines for one type and instruction set. */
#undef T
#undef NAME
#undef LANES
#undef SPLAT
#undef LOW
#undef HIGH
#undef FMA
#undef LOAD_PART
#undef STORE_PART
#undef VEC
#undef LOAD
#undef STORE
#undef COLUMNS
