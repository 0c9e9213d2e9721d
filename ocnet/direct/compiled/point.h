/* Variables, inequalities and derivatives of one instance; iterate.py has the formulas. */

#define NB (NLO + NUP)           /* bounds of a stage */
#define NR (NB + NG)             /* its inequalities */
#define NBE (ELO + EUP)          /* bounds at the end */
#define NE (NBE + NOM)           /* inequalities there */

typedef struct {
  int64_t n, max_iterations;
  real tolerance, mu, room;
  const real *times, *lower, *upper, *end_lower, *end_upper;
  const uint8_t *free; /* which path constraints a decision can influence; NULL for all */
} Setting;

/* One instance's variables, side by side in memory. */
typedef struct {
  real *z, *u, *costate, *nu, *s, *y, *s_end, *y_end;
} Iterate;

static size_t size_of_iterate(size_t n) {
  return 2 * (n + 1) * NZ + n * (NU + 2 * NR) + NPSI + 2 * NE;
}

static Iterate iterate_at(real *memory, size_t n) {
  Iterate it;
  it.z = memory;
  it.u = it.z + (n + 1) * NZ;
  it.costate = it.u + n * NU;
  it.nu = it.costate + (n + 1) * NZ;
  it.s = it.nu + NPSI;
  it.y = it.s + n * NR;
  it.s_end = it.y + n * NR;
  it.y_end = it.s_end + NE;
  return it;
}

/* Values and derivatives, side by side in memory, and what follows from them. */
typedef struct {
  real *F, *c, *g, *A, *c_w, *g_w, *H;
  real *phi, *psi, *omega, *phi_w, *psi_w, *omega_w, *H_end; /* w = (z[n], u[n - 1]) */
} Derivatives;

static size_t size_of_derivatives(size_t n) {
  return n * (NX + 1 + NG + (NX + 1 + NG + D) * D) + 1 + NPSI + NOM + (1 + NPSI + NOM + D) * D;
}

static Derivatives derivatives_at(real *memory, size_t n) {
  Derivatives d;
  d.F = memory;
  d.c = d.F + n * NX;
  d.g = d.c + n;
  d.A = d.g + n * NG;
  d.c_w = d.A + n * NX * D;
  d.g_w = d.c_w + n * D;
  d.H = d.g_w + n * NG * D;
  d.phi = d.H + n * D * D;
  d.psi = d.phi + 1;
  d.omega = d.psi + NPSI;
  d.phi_w = d.omega + NOM;
  d.psi_w = d.phi_w + D;
  d.omega_w = d.psi_w + NPSI * D;
  d.H_end = d.omega_w + NOM * D;
  return d;
}

static inline real larger(real a, real b) { return a >= b || a != a ? a : b; }
static inline real smaller(real a, real b) { return a <= b || a != a ? a : b; }

static inline void joined(const Iterate *it, int k, real *w) {
  for (int i = 0; i < NZ; i++) w[i] = it->z[k * NZ + i];
  for (int i = 0; i < NU; i++) w[NZ + i] = it->u[k * NU + i];
}

/* The final state and the last control. */
static inline void joined_end(const Iterate *it, int n, real *w) {
  for (int i = 0; i < NZ; i++) w[i] = it->z[n * NZ + i];
  for (int i = 0; i < NU; i++) w[NZ + i] = it->u[(n - 1) * NU + i];
}

static inline int is_free(const Setting *S, int k, int r) { return !S->free || S->free[k * NG + r]; }

/* The units of variables and rows, of what an instance has. */
#define UNITS_G (UNITS + D)
#define UNITS_PSI (UNITS_G + NG)
#define UNITS_OMEGA (UNITS_PSI + NPSI)

/* By how much a row is relaxed: Transcription.rooms. */
static inline real relaxed(const Setting *S, real unit) { return S->room * smaller(1 / unit, 1); }

static inline void rows_along(
    const Setting *S, const real *p, int k, const real *w, const real *g, real *rows) {
  const real *unit = p + UNITS;
  for (int r = 0; r < NLO; r++) rows[r] = S->lower[r] / unit[AT_LOWER[r]] - w[AT_LOWER[r]];
  for (int r = 0; r < NUP; r++) rows[NLO + r] = w[AT_UPPER[r]] - S->upper[r] / unit[AT_UPPER[r]];
  for (int r = 0; r < NG; r++)
    rows[NB + r] = is_free(S, k, r) ? g[r] - relaxed(S, p[UNITS_G + r]) : -1;
}

static inline void rows_at_end(
    const Setting *S, const real *p, const real *z, const real *omega, real *rows) {
  const real *unit = p + UNITS;
  for (int r = 0; r < ELO; r++) rows[r] = S->end_lower[r] / unit[END_LOWER[r]] - z[END_LOWER[r]];
  for (int r = 0; r < EUP; r++)
    rows[ELO + r] = z[END_UPPER[r]] - S->end_upper[r] / unit[END_UPPER[r]];
  for (int r = 0; r < NOM; r++) rows[NBE + r] = omega[r] - relaxed(S, p[UNITS_OMEGA + r]);
}

/* out += D' v along the path; at_end the same for the final state. */
static inline void pull_back(const real *g_w, const real *v, real *out) {
  for (int r = 0; r < NLO; r++) out[AT_LOWER[r]] -= v[r];
  for (int r = 0; r < NUP; r++) out[AT_UPPER[r]] += v[NLO + r];
  for (int r = 0; r < NG; r++)
    for (int i = 0; i < D; i++) out[i] += g_w[r * D + i] * v[NB + r];
}

static inline void pull_back_end(const real *omega_w, const real *v, real *out) {
  for (int r = 0; r < ELO; r++) out[END_LOWER[r]] -= v[r];
  for (int r = 0; r < EUP; r++) out[END_UPPER[r]] += v[ELO + r];
  for (int r = 0; r < NOM; r++)
    for (int i = 0; i < D; i++) out[i] += omega_w[r * D + i] * v[NBE + r];
}

/* out = D dw. */
static inline void along(const real *g_w, const real *dw, real *out) {
  for (int r = 0; r < NLO; r++) out[r] = -dw[AT_LOWER[r]];
  for (int r = 0; r < NUP; r++) out[NLO + r] = dw[AT_UPPER[r]];
  for (int r = 0; r < NG; r++) {
    out[NB + r] = 0;
    for (int i = 0; i < D; i++) out[NB + r] += g_w[r * D + i] * dw[i];
  }
}

static inline void along_end(const real *omega_w, const real *dw, real *out) {
  for (int r = 0; r < ELO; r++) out[r] = -dw[END_LOWER[r]];
  for (int r = 0; r < EUP; r++) out[ELO + r] = dw[END_UPPER[r]];
  for (int r = 0; r < NOM; r++) {
    out[NBE + r] = 0;
    for (int i = 0; i < D; i++) out[NBE + r] += omega_w[r * D + i] * dw[i];
  }
}

/* H += D' diag(weight) D. */
static inline void gram(const real *g_w, const real *weight, real *H) {
  for (int r = 0; r < NLO; r++) H[AT_LOWER[r] * (D + 1)] += weight[r];
  for (int r = 0; r < NUP; r++) H[AT_UPPER[r] * (D + 1)] += weight[NLO + r];
  for (int r = 0; r < NG; r++)
    for (int i = 0; i < D; i++)
      for (int j = 0; j < D; j++)
        H[i * D + j] += weight[NB + r] * g_w[r * D + i] * g_w[r * D + j];
}

static inline void gram_end(const real *omega_w, const real *weight, real *H) {
  for (int r = 0; r < ELO; r++) H[END_LOWER[r] * (D + 1)] += weight[r];
  for (int r = 0; r < EUP; r++) H[END_UPPER[r] * (D + 1)] += weight[ELO + r];
  for (int r = 0; r < NOM; r++)
    for (int i = 0; i < D; i++)
      for (int j = 0; j < D; j++)
        H[i * D + j] += weight[NBE + r] * omega_w[r * D + i] * omega_w[r * D + j];
}

/* All derivatives at an iterate. */
static void differentiate(const Setting *S, const real *p, const Iterate *it, Derivatives *d) {
  const int n = (int)S->n;
  for (int k = 0; k < n; k++) {
    real w[D], eta[ROOM(NG)];
    joined(it, k, w);
    for (int r = 0; r < NG; r++) eta[r] = is_free(S, k, r) ? it->y[k * NR + NB + r] : 0;
    stage_derivatives(
        w, p, S->times[k], it->costate + (k + 1) * NZ, eta, d->F + k * NX,
        d->c + k, d->g + k * NG, d->A + k * NX * D, d->c_w + k * D, d->g_w + k * NG * D,
        d->H + k * D * D);
    for (int r = 0; r < NG; r++)
      if (!is_free(S, k, r)) memset(d->g_w + (k * NG + r) * D, 0, D * sizeof(real));
  }
  real w[D];
  joined_end(it, n, w);
  end_derivatives(
      w, p, S->times[n], it->nu, it->y_end + NBE, d->phi, d->psi, d->omega, d->phi_w, d->psi_w,
      d->omega_w, d->H_end);
}

/* What the end adds to the gradient of the Lagrangian, in w = (z[n], u[n - 1]). */
static inline void lagrangian_end(
    const real *p, const Iterate *it, const Derivatives *d, real *L) {
  for (int i = 0; i < D; i++) {
    L[i] = p[SCALE] * d->phi_w[i];
    for (int r = 0; r < NPSI; r++) L[i] += d->psi_w[r * D + i] * it->nu[r];
  }
  pull_back_end(d->omega_w, it->y_end, L);
}

/* The gradient of the Lagrangian in w at step k, but for the costate of this step. */
static inline void lagrangian(
    const Setting *S, const real *p, const Iterate *it, const Derivatives *d, int k, real *L) {
  const real *A = d->A + k * NX * D, *next = it->costate + (k + 1) * NZ;
  for (int i = 0; i < D; i++) {
    L[i] = p[SCALE] * d->c_w[k * D + i];
    for (int l = 0; l < NX; l++) L[i] += A[l * D + i] * next[l];
  }
  for (int i = NX; i < NZ; i++) L[i] += next[i];
  pull_back(d->g_w + k * NG * D, it->y + k * NR, L);
}
