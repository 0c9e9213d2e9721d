/* The Riccati sweep of one instance; riccati.py has the formulas, constants.py the constants. */

#define D (NZ + NU)         /* of w = (z, u) */
#define NS (NZ + 1 + NPSI)  /* of the state (z, 1, nu) */
#define ROOM(n) ((n) > 0 ? (n) : 1)

/* The linear-quadratic problem of one Newton step; the end is in w = (z[n], u[n - 1]). */
typedef struct {
  real *H, *q, *A, *defect;
  real H_end[D * D], q_end[D];
  const real *E, *psi, *nu;
  real penalty; /* of the terminal constraint's square */
} Stages;

/* The solution: states, controls, multipliers; P and K are kept for it. */
typedef struct {
  real *z, *u, *costate, *P, *K;
  real nu[ROOM(NPSI)];
} Step;

/* The Cholesky factor in the lower triangle; zero if A is not positive definite. */
static int factor(int n, real *A) {
  for (int j = 0; j < n; j++) {
    real d = A[j * n + j];
    for (int k = 0; k < j; k++) d -= A[j * n + k] * A[j * n + k];
    if (!(d > 0)) return 0;
    d = sqrt(d);
    A[j * n + j] = d;
    for (int i = j + 1; i < n; i++) {
      real v = A[i * n + j];
      for (int k = 0; k < j; k++) v -= A[i * n + k] * A[j * n + k];
      A[i * n + j] = v / d;
    }
  }
  return 1;
}

/* X <- -(L L')^{-1} X, with m columns. */
static void minus_solved(int n, int m, const real *L, real *X) {
  for (int c = 0; c < m; c++) {
    for (int i = 0; i < n; i++) {
      real v = X[i * m + c];
      for (int k = 0; k < i; k++) v -= L[i * n + k] * X[k * m + c];
      X[i * m + c] = v / L[i * n + i];
    }
    for (int i = n - 1; i >= 0; i--) {
      real v = X[i * m + c];
      for (int k = i + 1; k < n; k++) v -= L[k * n + i] * X[k * m + c];
      X[i * m + c] = v / L[i * n + i];
    }
    for (int i = 0; i < n; i++) X[i * m + c] = -X[i * m + c];
  }
}

/* The value of the end, in the state (z, 1, nu). */
static void value_of_end(const Stages *lq, real shift, real *P) {
  const real soft = shift > 0 ? SOFT : 0;
  memset(P, 0, NS * NS * sizeof(real));
  for (int i = 0; i < NZ; i++) {
    real linear = lq->q_end[i];
    for (int j = 0; j < NZ; j++) {
      real v = lq->H_end[i * D + j] + (i == j ? shift : 0);
      for (int r = 0; r < NPSI; r++) v += lq->penalty * lq->E[r * D + i] * lq->E[r * D + j];
      P[i * NS + j] = v;
    }
    for (int r = 0; r < NPSI; r++) {
      linear += lq->penalty * lq->E[r * D + i] * lq->psi[r];
      P[i * NS + NZ + 1 + r] = P[(NZ + 1 + r) * NS + i] = lq->E[r * D + i];
    }
    P[i * NS + NZ] = P[NZ * NS + i] = linear;
  }
  for (int r = 0; r < NPSI; r++) {
    const int i = NZ + 1 + r;
    P[NZ * NS + i] = P[i * NS + NZ] = lq->psi[r] + soft * lq->nu[r];
    P[i * NS + i] = -soft;
  }
}

/* The product of the final state and the last control, the state a function of what is before:
   path constraints at the end make it, as rows and as penalties. */
static void add_cross(const Stages *lq, const real *A, const real *c, real *Q_us, real *Q_uu) {
  for (int i = 0; i < NZ; i++)
    for (int a = 0; a < NU; a++) {
      const real G = lq->H_end[i * D + NZ + a];
      if (i >= NX) Q_us[a * NS + i] += G;
      if (i >= NX) continue;
      for (int j = 0; j < NZ; j++) Q_us[a * NS + j] += G * A[i * D + j];
      Q_us[a * NS + NZ] += G * c[i];
      for (int b = 0; b < NU; b++) {
        Q_uu[a * NU + b] += G * A[i * D + NZ + b];
        Q_uu[b * NU + a] += G * A[i * D + NZ + b];
      }
    }
}

/* P <- the value one step earlier, with the gain K; zero if the stage is not convex. */
static int one_step(
    const Stages *lq, int k, int last, real shift, const real *next, real *P, real *K) {
  const real *H = lq->H + k * D * D, *q = lq->q + k * D;
  const real *A = lq->A + k * NX * D, *c = lq->defect + k * NX;
  real W[NS][NS + NU], Q_uu[NU * NU];
  for (int i = 0; i < NS; i++) {
    const real *row = next + i * NS;
    for (int j = 0; j < NS; j++) W[i][j] = j < NX ? 0 : row[j];
    for (int a = 0; a < NU; a++) W[i][NS + a] = 0;
    for (int l = 0; l < NX; l++) {
      for (int j = 0; j < NZ; j++) W[i][j] += row[l] * A[l * D + j];
      W[i][NZ] += row[l] * c[l];
      for (int a = 0; a < NU; a++) W[i][NS + a] += row[l] * A[l * D + NZ + a];
    }
  }
  for (int a = 0; a < NU; a++) {
    real *Q_us = K + a * NS;
    for (int j = 0; j < NS; j++) {
      Q_us[j] = j < NZ ? H[(NZ + a) * D + j] : j == NZ ? q[NZ + a] : 0;
      for (int l = 0; l < NX; l++) Q_us[j] += A[l * D + NZ + a] * W[l][j];
    }
    for (int b = 0; b < NU; b++) {
      real v = H[(NZ + a) * D + NZ + b] + (a == b ? shift : 0);
      for (int l = 0; l < NX; l++) v += A[l * D + NZ + a] * W[l][NS + b];
      Q_uu[a * NU + b] = v;
    }
  }
  if (last) add_cross(lq, A, c, K, Q_uu);
  if (!factor(NU, Q_uu)) return 0;
  real Q_us[NU * NS];
  memcpy(Q_us, K, sizeof(Q_us));
  minus_solved(NU, NS, Q_uu, K);
  for (int i = 0; i < NS; i++) {
    for (int j = i; j < NS; j++) {
      real v = i < NX ? 0 : W[i][j];
      if (i < NZ)
        for (int l = 0; l < NX; l++) v += A[l * D + i] * W[l][j];
      else if (i == NZ)
        for (int l = 0; l < NX; l++) v += c[l] * W[l][j];
      if (j < NZ) v += H[i * D + j] + (i == j ? shift : 0);
      if (i < NZ && j == NZ) v += q[i];
      for (int a = 0; a < NU; a++) v += Q_us[a * NS + i] * K[a * NS + j];
      P[i * NS + j] = P[j * NS + i] = v;
    }
  }
  return 1;
}

/* The initial state (0, theta, 1, nu), least in theta and largest in nu; zero if there is none. */
static int saddle_point(const real *P, real *state) {
  enum { NT = NZ - NX, M = 1 + NPSI };
  real T[ROOM(NT * NT)], K[ROOM(NT * M)], R[M * M], nu[ROOM(NPSI)];
  for (int i = 0; i < NT; i++) {
    for (int j = 0; j < NT; j++) T[i * NT + j] = P[(NX + i) * NS + NX + j];
    for (int j = 0; j < M; j++) K[i * M + j] = P[(NX + i) * NS + NZ + j];
  }
  if (NT > 0) {
    if (!factor(NT, T)) return 0;
    minus_solved(NT, M, T, K);
  }
  for (int i = 0; i < M; i++)
    for (int j = 0; j < M; j++) {
      R[i * M + j] = P[(NZ + i) * NS + NZ + j];
      for (int t = 0; t < NT; t++) R[i * M + j] += P[(NZ + i) * NS + NX + t] * K[t * M + j];
    }
  if (NPSI > 0) {
    real S[ROOM(NPSI * NPSI)];
    for (int i = 0; i < NPSI; i++) {
      for (int j = 0; j < NPSI; j++) S[i * NPSI + j] = -R[(1 + i) * M + 1 + j];
      nu[i] = -R[(1 + i) * M];
    }
    if (!factor(NPSI, S)) return 0;
    minus_solved(NPSI, 1, S, nu);
  }
  for (int i = 0; i < NX; i++) state[i] = 0;
  state[NZ] = 1;
  for (int r = 0; r < NPSI; r++) state[NZ + 1 + r] = nu[r];
  for (int t = 0; t < NT; t++) {
    state[NX + t] = K[t * M];
    for (int r = 0; r < NPSI; r++) state[NX + t] += K[t * M + 1 + r] * nu[r];
  }
  return 1;
}

/* Solves the problem with a multiple of the identity added; zero if it is not convex. */
static int riccati(const Stages *lq, int n, real shift, Step *step) {
  value_of_end(lq, shift, step->P + (size_t)n * NS * NS);
  for (int k = n - 1; k >= 0; k--) {
    real *P = step->P + (size_t)k * NS * NS;
    real *K = step->K + (size_t)k * NU * NS;
    if (!one_step(lq, k, k == n - 1, shift / n, P + NS * NS, P, K)) return 0;
  }
  real state[NS];
  if (!saddle_point(step->P, state)) return 0;
  for (int r = 0; r < NPSI; r++) step->nu[r] = state[NZ + 1 + r];
  for (int k = 0; k <= n; k++) {
    const real *P = step->P + (size_t)k * NS * NS;
    for (int i = 0; i < NZ; i++) {
      real p = 0;
      for (int j = 0; j < NS; j++) p += P[i * NS + j] * state[j];
      step->costate[k * NZ + i] = p;
      step->z[k * NZ + i] = state[i];
    }
    if (k == n) break;
    const real *A = lq->A + k * NX * D, *K = step->K + (size_t)k * NU * NS;
    real *u = step->u + k * NU;
    for (int a = 0; a < NU; a++) {
      u[a] = 0;
      for (int j = 0; j < NS; j++) u[a] += K[a * NS + j] * state[j];
    }
    for (int i = 0; i < NX; i++) {
      real x = lq->defect[k * NX + i];
      for (int j = 0; j < NZ; j++) x += A[i * D + j] * step->z[k * NZ + j];
      for (int a = 0; a < NU; a++) x += A[i * D + NZ + a] * u[a];
      state[i] = x;
    }
  }
  for (int i = 0; i < NZ; i++)
    for (int a = 0; a < NU; a++)
      step->costate[n * NZ + i] += lq->H_end[i * D + NZ + a] * step->u[(n - 1) * NU + a];
  return 1;
}
