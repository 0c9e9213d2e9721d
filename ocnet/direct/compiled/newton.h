/* Linearisation, residuals and Newton step of one instance; newton.py has the formulas. */

typedef struct {
  real *rows, *rows_end, *defect;
  Derivatives d;
} Linearisation;

/* By how much the rows of a linearised problem are missed: the slacks' rows, dynamics, the end. */
typedef struct {
  real *rows, *rows_end, *defect, *psi;
} Missed;

/* Everything that an instance needs, in one piece of memory, which is NULL if there is none. */
typedef struct {
  Iterate it, trial, change;
  real *it_all, *trial_all, *change_all, *best; /* the best has the least residual so far */
  real *uncorrected; /* the change before corrections of second order */
  Missed missed; /* with those */
  Linearisation lin;
  Stages stages;
  Step step;
  real *violations, *costs; /* the filter */
  int entries, waited; /* since the least residual so far */
  real most, little, least;
  void *memory;
} Work;

static Work prepared(const Setting *S) {
  const size_t n = (size_t)S->n, size = size_of_iterate(n);
  const size_t total = 5 * size + size_of_derivatives(n) + n * (2 * (NR + NX) + D) + 2 * NE + NPSI
      + (n + 1) * (2 * NZ + NS * NS) + n * (NU + NU * NS) + 2 * (S->max_iterations + 2);
  Work w;
  real *m = malloc(total * sizeof(real));
  w.memory = m;
  if (!m) return w;
  w.it_all = m, w.it = iterate_at(m, n), m += size;
  w.trial_all = m, w.trial = iterate_at(m, n), m += size;
  w.change_all = m, w.change = iterate_at(m, n), m += size;
  w.best = m, m += size;
  w.uncorrected = m, m += size;
  w.missed.rows = m, m += n * NR;
  w.missed.rows_end = m, m += NE;
  w.missed.defect = m, m += n * NX;
  w.missed.psi = m, m += NPSI;
  w.lin.d = derivatives_at(m, n), m += size_of_derivatives(n);
  w.lin.rows = m, m += n * NR;
  w.lin.rows_end = m, m += NE;
  w.lin.defect = m, m += n * NX;
  w.stages.q = m, m += n * D;
  w.step.z = m, m += (n + 1) * NZ;
  w.step.costate = m, m += (n + 1) * NZ;
  w.step.P = m, m += (n + 1) * NS * NS;
  w.step.u = m, m += n * NU;
  w.step.K = m, m += n * NU * NS;
  w.violations = m, m += S->max_iterations + 2;
  w.costs = m;
  return w;
}

static void linearise(const Setting *S, const real *p, const Iterate *it, Linearisation *lin) {
  const int n = (int)S->n;
  differentiate(S, p, it, &lin->d);
  for (int k = 0; k < n; k++) {
    real w[D];
    joined(it, k, w);
    rows_along(S, p, k, w, lin->d.g + k * NG, lin->rows + k * NR);
    for (int i = 0; i < NX; i++)
      lin->defect[k * NX + i] = lin->d.F[k * NX + i] - it->z[(k + 1) * NZ + i];
  }
  real w[D];
  joined_end(it, n, w);
  rows_at_end(S, p, w, lin->d.omega, lin->rows_end);
}

static real complementarity(const Setting *S, const Iterate *it, real mu) {
  const int n = (int)S->n;
  real most = 0;
  for (int i = 0; i < n * NR; i++) most = larger(most, fabs(n * it->s[i] * it->y[i] - mu));
  for (int i = 0; i < NE; i++) most = larger(most, fabs(it->s_end[i] * it->y_end[i] - mu));
  return most;
}

typedef struct {
  real stationarity, feasibility, size;
} Residuals;

/* What a violation in a row's unit counts: iterate.residuals. */
static inline real counted(real unit) { return smaller(larger(unit, 1), UNITS_MATTER); }

static void units_of_rows(const real *p, real *along, real *end) {
  for (int r = 0; r < NLO; r++) along[r] = counted(p[UNITS + AT_LOWER[r]]);
  for (int r = 0; r < NUP; r++) along[NLO + r] = counted(p[UNITS + AT_UPPER[r]]);
  for (int r = 0; r < NG; r++) along[NB + r] = counted(p[UNITS_G + r]);
  for (int r = 0; r < ELO; r++) end[r] = counted(p[UNITS + END_LOWER[r]]);
  for (int r = 0; r < EUP; r++) end[ELO + r] = counted(p[UNITS + END_UPPER[r]]);
  for (int r = 0; r < NOM; r++) end[NBE + r] = counted(p[UNITS_OMEGA + r]);
}

static Residuals residuals(
    const Setting *S, const real *p, const Iterate *it, const Linearisation *lin) {
  const int n = (int)S->n;
  real along_path = 0, at_end = 0, feasible = 0, total = 0, weighted = 0, end[D];
  lagrangian_end(p, it, &lin->d, end);
  for (int k = 0; k < n; k++) {
    real L[D];
    lagrangian(S, p, it, &lin->d, k, L);
    for (int i = NZ; i < D && k == n - 1; i++) L[i] += end[i];
    for (int i = 0; i < NZ; i++) along_path = larger(along_path, fabs(L[i] - it->costate[k * NZ + i]));
    for (int i = NZ; i < D; i++) along_path = larger(along_path, fabs(L[i]));
  }
  for (int i = 0; i < NZ; i++) at_end = larger(at_end, fabs(end[i] - it->costate[n * NZ + i]));
  real unit[ROOM(NR)], unit_end[ROOM(NE)];
  units_of_rows(p, unit, unit_end);
  for (int k = 0; k < n; k++) {
    for (int i = 0; i < NX; i++)
      feasible = larger(feasible, counted(p[UNITS + i]) * fabs(lin->defect[k * NX + i]));
    for (int r = 0; r < NR; r++)
      feasible = larger(feasible, unit[r] * fabs(lin->rows[k * NR + r] + it->s[k * NR + r]));
  }
  for (int i = 0; i < NPSI; i++)
    feasible = larger(feasible, counted(p[UNITS_PSI + i]) * fabs(lin->d.psi[i]));
  for (int i = 0; i < NE; i++)
    feasible = larger(feasible, unit_end[i] * fabs(lin->rows_end[i] + it->s_end[i]));
  for (int i = 0; i < (n + 1) * NZ; i++) total += fabs(it->costate[i]);
  for (int i = 0; i < NPSI; i++) total += fabs(it->nu[i]);
  for (int i = 0; i < n * NR; i++) weighted += fabs(it->y[i]);
  for (int i = 0; i < NE; i++) total += fabs(it->y_end[i]);
  const int count = (n + 1) * NZ + NPSI + n * NR + NE;
  Residuals r = {larger(n * along_path, at_end), feasible,
                 larger((total + n * weighted) / count / USUAL_MULTIPLIER, 1)};
  return r;
}

static real error_of(Residuals r, real products) {
  return larger(larger(r.stationarity, products) / r.size, r.feasibility);
}

/* The gradient of the Newton step's problem, slacks eliminated, and what is missed: newton.stages.

   `rows` and `rows_end` hold what is missed where slacks are added to them. */
static void set_gradient(
    const Setting *S, const real *p, Work *w, const Iterate *it, real mu, Missed missed) {
  const int n = (int)S->n;
  Derivatives *d = &w->lin.d;
  Stages *q = &w->stages;
  q->defect = missed.defect, q->psi = missed.psi;
  for (int k = 0; k < n; k++) {
    const real *s = it->s + k * NR, *y = it->y + k * NR, *rows = missed.rows + k * NR;
    real pull[ROOM(NR)], *gradient = q->q + k * D;
    for (int r = 0; r < NR; r++) pull[r] = (mu / n + y[r] * (rows[r] + s[r])) * (1 / s[r]);
    for (int i = 0; i < D; i++) gradient[i] = p[SCALE] * d->c_w[k * D + i];
    pull_back(d->g_w + k * NG * D, pull, gradient);
  }
  real pull[ROOM(NE)];
  for (int r = 0; r < NE; r++)
    pull[r] = (mu + it->y_end[r] * (missed.rows_end[r] + it->s_end[r])) / it->s_end[r];
  for (int i = 0; i < D; i++) q->q_end[i] = p[SCALE] * d->phi_w[i];
  pull_back_end(d->omega_w, pull, q->q_end);
  /* What the end reads of the last control alone belongs to the last step. */
  for (int i = NZ; i < D; i++) q->q[(n - 1) * D + i] += q->q_end[i];
}

/* Gradient and Hessian of the Newton step's problem, slacks eliminated: newton.stages. */
static void set_stages(const Setting *S, const real *p, Work *w, const Iterate *it, real mu) {
  const int n = (int)S->n;
  Derivatives *d = &w->lin.d;
  Stages *q = &w->stages;
  const Missed missed = {w->lin.rows, w->lin.rows_end, w->lin.defect, d->psi};
  q->H = d->H, q->A = d->A, q->E = d->psi_w, q->nu = it->nu;
  set_gradient(S, p, w, it, mu, missed);
  for (int k = 0; k < n; k++) {
    real weight[ROOM(NR)];
    for (int r = 0; r < NR; r++) weight[r] = it->y[k * NR + r] * (1 / it->s[k * NR + r]);
    gram(d->g_w + k * NG * D, weight, d->H + k * D * D);
  }
  real weight[ROOM(NE)], *H = d->H + (n - 1) * D * D;
  for (int r = 0; r < NE; r++) weight[r] = it->y_end[r] / it->s_end[r];
  memcpy(q->H_end, d->H_end, sizeof(q->H_end));
  gram_end(d->omega_w, weight, q->H_end);
  for (int i = NZ; i < D; i++)
    for (int j = NZ; j < D; j++) H[i * D + j] += q->H_end[i * D + j];
}

/* The step with the least multiple of the identity that makes it convex: newton.convexified. */
static int convexified(int n, Work *w, real shift, real *used) {
  const real last = fabs(shift);
  *used = shift < 0 ? -shift : 0;
  w->stages.penalty = PENALTIES[0];
  if (NPSI > 0 && *used == 0) {
    if (riccati(&w->stages, n, 0, &w->step)) return 1;
    w->stages.penalty = PENALTIES[1];
    if (riccati(&w->stages, n, 0, &w->step)) return 1;
    w->stages.penalty = PENALTIES[0];
    *used = last > 0 ? larger(last / SHIFT_RELAXED, LEAST_SHIFT) : FIRST_SHIFT;
  }
  while (!riccati(&w->stages, n, *used, &w->step)) {
    if (*used > MOST_SHIFT) return 0;
    if (*used > 0) *used *= last > 0 ? SHIFT_RAISED : SHIFT_RAISED_FIRST;
    else *used = last > 0 ? larger(last / SHIFT_RELAXED, LEAST_SHIFT) : FIRST_SHIFT;
  }
  return 1;
}

/* Whether the second-order condition holds, but for slight curvature: newton.is_minimum. */
static int is_minimum(int n, Work *w) {
  for (int k = 0; k < (NPSI > 0 ? N_PENALTIES : 1); k++) {
    w->stages.penalty = PENALTIES[k];
    if (riccati(&w->stages, n, SLIGHT, &w->step)) return 1;
  }
  return 0;
}

/* The change of all variables: newton.direction. Returns the slope of the barrier function. */
static real direction(const Setting *S, const real *p, Work *w, real mu, Missed missed) {
  const int n = (int)S->n;
  const Iterate *it = &w->it, *ch = &w->change;
  const Derivatives *d = &w->lin.d;
  real slope = 0, shrink = 0, shrink_end = 0;
  memcpy(ch->z, w->step.z, (size_t)(n + 1) * NZ * sizeof(real));
  memcpy(ch->u, w->step.u, (size_t)n * NU * sizeof(real));
  for (int i = 0; i < (n + 1) * NZ; i++) ch->costate[i] = w->step.costate[i] - it->costate[i];
  for (int r = 0; r < NPSI; r++) ch->nu[r] = w->step.nu[r] - it->nu[r];
  for (int k = 0; k < n; k++) {
    real dw[D], change[ROOM(NR)];
    joined(ch, k, dw);
    along(d->g_w + k * NG * D, dw, change);
    for (int i = 0; i < D; i++) slope += p[SCALE] * d->c_w[k * D + i] * dw[i];
    for (int r = k * NR; r < (k + 1) * NR; r++) {
      const real over = 1 / it->s[r];
      ch->s[r] = -(missed.rows[r] + it->s[r]) - change[r - k * NR];
      ch->y[r] = (mu / n - it->y[r] * ch->s[r]) * over - it->y[r];
      shrink += ch->s[r] * over;
    }
  }
  real change[ROOM(NE)], dw[D];
  joined_end(ch, n, dw);
  along_end(d->omega_w, dw, change);
  for (int i = 0; i < D; i++) slope += p[SCALE] * d->phi_w[i] * dw[i];
  for (int r = 0; r < NE; r++) {
    ch->s_end[r] = -(missed.rows_end[r] + it->s_end[r]) - change[r];
    ch->y_end[r] = (mu - it->y_end[r] * ch->s_end[r]) / it->s_end[r] - it->y_end[r];
    shrink_end += ch->s_end[r] / it->s_end[r];
  }
  return slope - mu * (shrink / n + shrink_end);
}
