//! A stand-in for the Telco customer data when the file is not at hand: same header, levels, size and difficulty.
//!
//! Customers are drawn one property after the other, each given the earlier ones. The shares and coefficients are those
//! that tables and logistic regressions found in the public file; bills follow its price list (a telephone line costs 20,
//! DSL 25, fiber 50, an extra 5, a streaming service 10). No customer of the file is in here.
//!
//! **Contract.** The bytes never change: they depend on a fixed seed alone, and a test holds their hash.

use rand::RngExt as _;
use rand_distr::{Distribution, Normal};

use crate::seed::{Rng, Seed};

/// Customers, as many as the public file has.
pub const ROWS: usize = 7043;
/// Customers in their first month, who have no total yet: (with a one-year, with a two-year contract).
const NEW_CUSTOMERS: (usize, usize) = (1, 10);

const HEADER: &str = "customerID,gender,SeniorCitizen,Partner,Dependents,tenure,PhoneService,MultipleLines,\
    InternetService,OnlineSecurity,OnlineBackup,DeviceProtection,TechSupport,StreamingTV,StreamingMovies,\
    Contract,PaperlessBilling,PaymentMethod,MonthlyCharges,TotalCharges,Churn";

const INTERNET: [&str; 3] = ["No", "DSL", "Fiber optic"];
const CONTRACT: [&str; 3] = ["Month-to-month", "One year", "Two year"];
const PAYMENT: [&str; 4] = [
    "Electronic check",
    "Mailed check",
    "Bank transfer (automatic)",
    "Credit card (automatic)",
];
/// Monthly price of each extra: security, backup, protection, support, television, films.
const EXTRA_PRICE: [f64; 6] = [5.0, 5.0, 5.0, 5.0, 10.0, 10.0];

/// Share of customers with dependents, by senior and partner.
const DEPENDENTS: [[f64; 2]; 2] = [[0.115, 0.589], [0.014, 0.145]];
/// Shares of internet services, by senior and dependents.
const INTERNET_SHARE: [[[f64; 3]; 2]; 2] = [
    [[0.215, 0.357, 0.428], [0.317, 0.384, 0.299]],
    [[0.047, 0.219, 0.735], [0.033, 0.319, 0.648]],
];
/// Shares of contracts, by internet service, partner and dependents.
const CONTRACT_SHARE: [[[[f64; 3]; 2]; 2]; 3] = [
    [
        [[0.498, 0.234, 0.268], [0.444, 0.248, 0.308]],
        [[0.193, 0.259, 0.547], [0.184, 0.234, 0.582]],
    ],
    [
        [[0.664, 0.198, 0.138], [0.589, 0.272, 0.139]],
        [[0.385, 0.255, 0.360], [0.312, 0.275, 0.413]],
    ],
    [
        [[0.811, 0.121, 0.068], [0.710, 0.161, 0.129]],
        [[0.603, 0.214, 0.183], [0.494, 0.251, 0.255]],
    ],
];
/// Deciles of the months as a customer, by contract and internet service.
const TENURE: [[[f64; 11]; 3]; 3] = [
    [
        [1., 1., 1., 1., 3., 5., 7., 11., 16., 25., 61.],
        [1., 1., 2., 4., 6., 10., 14., 20., 28., 41., 71.],
        [1., 1., 3., 7., 11., 16., 23., 30., 39., 52., 72.],
    ],
    [
        [1., 7., 12., 17., 22., 26., 33., 39., 48., 56., 72.],
        [1., 15., 24., 29., 36., 41., 47., 52., 58., 64., 71.],
        [4., 29., 39., 46., 51., 55., 59., 63., 66., 69., 72.],
    ],
    [
        [1., 16., 27., 40., 47., 54., 60., 65., 69., 72., 72.],
        [2., 36., 50., 57., 62., 66., 69., 70., 72., 72., 72.],
        [24., 50., 60., 64., 68., 70., 71., 72., 72., 72., 72.],
    ],
];
/// Shares of payment methods, by internet service, paperless billing and contract.
const PAYMENT_SHARE: [[[[f64; 4]; 3]; 2]; 3] = [
    [
        [
            [0.103, 0.662, 0.120, 0.115],
            [0.087, 0.479, 0.226, 0.208],
            [0.028, 0.418, 0.258, 0.296],
        ],
        [
            [0.189, 0.537, 0.131, 0.143],
            [0.121, 0.374, 0.293, 0.212],
            [0.029, 0.331, 0.337, 0.302],
        ],
    ],
    [
        [
            [0.339, 0.359, 0.172, 0.130],
            [0.171, 0.268, 0.260, 0.301],
            [0.078, 0.209, 0.340, 0.374],
        ],
        [
            [0.421, 0.259, 0.154, 0.166],
            [0.233, 0.216, 0.249, 0.302],
            [0.107, 0.137, 0.375, 0.381],
        ],
    ],
    [
        [
            [0.563, 0.132, 0.178, 0.128],
            [0.324, 0.108, 0.295, 0.273],
            [0.146, 0.089, 0.382, 0.382],
        ],
        [
            [0.628, 0.085, 0.147, 0.140],
            [0.378, 0.052, 0.290, 0.280],
            [0.242, 0.033, 0.376, 0.350],
        ],
    ],
];
/// Log odds of each extra: constant, months / 72, fiber, one-year, two-year contract, and the extras before it.
const EXTRA: [[f64; 10]; 6] = [
    [-1.233, 1.654, -0.939, 0.620, 1.130, 0., 0., 0., 0., 0.],
    [-1.511, 2.521, -0.021, 0.121, 0.203, 0.089, 0., 0., 0., 0.],
    [
        -1.550, 1.765, 0.197, 0.696, 1.267, -0.071, 0.020, 0., 0., 0.,
    ],
    [
        -1.357, 0.679, -0.735, 0.867, 1.828, 0.312, 0.153, 0.279, 0., 0.,
    ],
    [
        -1.608, 1.206, 0.912, 0.404, 0.680, -0.372, 0.047, 0.680, 0.313, 0.,
    ],
    [
        -1.917, 1.011, 0.647, 0.297, 0.485, -0.229, -0.053, 0.575, 0.208, 1.431,
    ],
];
/// Log odds of leaving, for each extra.
const CHURN_EXTRA: [f64; 6] = [-0.316, -0.121, 0.028, -0.287, 0.309, 0.324];

/// One customer; levels as indices of the tables above.
struct Customer {
    id: String,
    male: bool,
    senior: bool,
    partner: bool,
    dependents: bool,
    tenure: u32,
    phone: bool,
    multiple: bool,
    internet: usize,
    extras: [bool; 6],
    contract: usize,
    paperless: bool,
    payment: usize,
    monthly: f64,
    total: Option<f64>,
    churn: bool,
}

/// The file: a header and [`ROWS`] customers.
pub fn telco() -> Vec<u8> {
    let root = Seed::root(0x7e1c0).child("customers", 0);
    let mut customers: Vec<Customer> = (0..ROWS)
        .map(|i| Customer::draw(i, &mut root.child("customer", i as u64).rng()))
        .collect();
    begin_today(&mut customers, 1, NEW_CUSTOMERS.0);
    begin_today(&mut customers, 2, NEW_CUSTOMERS.1);
    let mut text = String::with_capacity(ROWS * 150);
    text += HEADER;
    text.push('\n');
    for customer in &customers {
        text += &customer.line();
        text.push('\n');
    }
    text.into_bytes()
}

/// Makes the newest loyal customers with a contract ones in their first month.
fn begin_today(customers: &mut [Customer], contract: usize, count: usize) {
    let mut newest: Vec<usize> = (0..customers.len())
        .filter(|&i| customers[i].contract == contract && !customers[i].churn)
        .collect();
    newest.sort_by_key(|&i| (customers[i].tenure, i));
    for &i in newest.iter().take(count) {
        customers[i].tenure = 0;
        customers[i].total = None;
    }
}

impl Customer {
    fn draw(index: usize, rng: &mut Rng) -> Self {
        let flag = f64::from;
        let male = chance(rng, 0.505);
        let senior = chance(rng, 0.162);
        let partner = chance(rng, if senior { 0.502 } else { 0.479 });
        let dependents = chance(rng, DEPENDENTS[at(senior)][at(partner)]);
        let internet = choose(rng, &INTERNET_SHARE[at(senior)][at(dependents)]);
        let contract = choose(rng, &CONTRACT_SHARE[internet][at(partner)][at(dependents)]);
        let (fiber, none) = (flag(internet == 2), flag(internet == 0));
        let (one, two) = (flag(contract == 1), flag(contract == 2));

        // Customers with a partner stay longer.
        let place = rng.random::<f64>();
        let place = if partner {
            (place.sqrt() + 2.0 * place) / 3.0
        } else {
            (place * place.sqrt()).midpoint(place)
        };
        let tenure = quantile(&TENURE[contract][internet], place);
        let years = f64::from(tenure) / 72.0;

        // Only DSL comes without a telephone line.
        let phone = !(internet == 1 && chance(rng, 0.282));
        let multiple = 2.477 * years + 1.042 * fiber - 0.834 * none - 1.716
            + 0.096 * flag(partner)
            + 0.411 * flag(senior);
        let multiple = phone && chance(rng, logistic(multiple));
        let mut extras = [false; 6];
        for i in 0..extras.len() {
            let c = &EXTRA[i];
            let mut odds = c[0] + c[1] * years + c[2] * fiber + c[3] * one + c[4] * two;
            odds += (0..i).map(|j| c[5 + j] * flag(extras[j])).sum::<f64>();
            extras[i] = chance(rng, logistic(odds)) && internet != 0;
        }
        let paperless =
            0.312 + 0.915 * fiber - 1.002 * none - 0.262 * one - 0.365 * two + 0.425 * flag(senior);
        let paperless = chance(rng, logistic(paperless));
        let payment = choose(rng, &PAYMENT_SHARE[internet][at(paperless)][contract]);

        let list = [0.0, 25.0, 50.0][internet]
            + 20.0 * flag(phone)
            + 5.0 * flag(multiple)
            + extras
                .iter()
                .zip(EXTRA_PRICE)
                .map(|(&e, price)| flag(e) * price)
                .sum::<f64>();
        let spread = if internet == 0 { 0.55 } else { 1.12 };
        // Prices are multiples of five cents.
        let monthly = ((list + spread * normal(rng)) * 20.0).round() / 20.0;
        let mut customer = Customer {
            id: id(index, rng),
            male,
            senior,
            partner,
            dependents,
            tenure,
            phone,
            multiple,
            internet,
            extras,
            contract,
            paperless,
            payment,
            monthly,
            total: None,
            churn: false,
        };
        // Bills changed over the months; the first month is the whole of it.
        let months = f64::from(tenure);
        let wander = 0.18 * (months - 1.0).sqrt() * normal(rng);
        customer.total = Some(((monthly * (months + wander)).max(monthly) * 20.0).round() / 20.0);
        customer.churn = chance(rng, logistic(customer.churn_odds()));
        customer
    }

    fn churn_odds(&self) -> f64 {
        let flag = f64::from;
        let years = f64::from(self.tenure) / 72.0;
        let mut odds = -1.115 - 0.486 * years + 1.638 * libm::exp(-f64::from(self.tenure) / 6.0);
        odds += match self.internet {
            0 => -0.790,
            1 => 0.0,
            _ => 1.0 - 0.211 * years,
        };
        odds += [-0.806 * years, -1.137, -2.201][self.contract];
        for (&extra, weight) in self.extras.iter().zip(CHURN_EXTRA) {
            odds += weight * flag(extra);
        }
        odds - 0.107 * flag(self.dependents)
            + 0.231 * flag(self.senior)
            + 0.373 * flag(self.multiple)
            - 0.542 * flag(self.phone)
            + 0.351 * flag(self.paperless)
            + 0.324 * flag(self.payment == 0)
    }

    fn line(&self) -> String {
        let yes = |b: bool| if b { "Yes" } else { "No" };
        let extra = |i: usize| match self.internet {
            0 => "No internet service",
            _ => yes(self.extras[i]),
        };
        let total = self.total.map_or(" ".to_owned(), |t| t.to_string());
        let cells = [
            self.id.as_str(),
            if self.male { "Male" } else { "Female" },
            if self.senior { "1" } else { "0" },
            yes(self.partner),
            yes(self.dependents),
            &self.tenure.to_string(),
            yes(self.phone),
            if self.phone {
                yes(self.multiple)
            } else {
                "No phone service"
            },
            INTERNET[self.internet],
            extra(0),
            extra(1),
            extra(2),
            extra(3),
            extra(4),
            extra(5),
            CONTRACT[self.contract],
            yes(self.paperless),
            PAYMENT[self.payment],
            &self.monthly.to_string(),
            &total,
            yes(self.churn),
        ];
        cells.join(",")
    }
}

fn at(b: bool) -> usize {
    usize::from(b)
}

fn chance(rng: &mut Rng, probability: f64) -> bool {
    rng.random::<f64>() < probability
}

fn choose(rng: &mut Rng, shares: &[f64]) -> usize {
    let mut rest = rng.random::<f64>();
    for (i, share) in shares.iter().enumerate() {
        rest -= share;
        if rest < 0.0 {
            return i;
        }
    }
    // Shares of three decimals may sum to slightly less than 1.
    shares.len() - 1
}

fn logistic(odds: f64) -> f64 {
    1.0 / (1.0 + libm::exp(-odds))
}

fn normal(rng: &mut Rng) -> f64 {
    // A standard deviation of 1 is always valid.
    Normal::new(0.0, 1.0).map_or(0.0, |n| n.sample(rng))
}

/// Whole months between deciles; `place` in 0..1.
fn quantile(deciles: &[f64; 11], place: f64) -> u32 {
    let position = place * 10.0;
    let low = (position as usize).min(9);
    let value = deciles[low] + (deciles[low + 1] - deciles[low]) * (position - low as f64);
    value.round() as u32
}

/// Four digits and five letters; the digits and the first letter are the index, so that all differ.
fn id(index: usize, rng: &mut Rng) -> String {
    // 7919 is coprime to 10000: consecutive customers get scattered numbers.
    let mut id = format!("{:04}-", index * 7919 % 10_000);
    for _ in 0..5 {
        id.push(char::from(b'A' + rng.random_range(0..26_u8)));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::csv::read_dataset_bytes;
    use crate::data::telco::options;

    #[test]
    fn the_bytes_never_change() {
        assert_eq!(
            crate::fsio::sha256(&telco()),
            GOLDEN,
            "stored studies rely on these bytes"
        );
    }

    const GOLDEN: &str = "01751721fbd496ec862b5831cbc0a5b314e856a45d6ed59c51d8ac8c2427a977";

    #[test]
    fn it_has_the_size_and_shares_of_the_public_file() {
        let data = read_dataset_bytes(&telco(), "telco", "telco-synthetic", &options()).unwrap();
        assert_eq!((data.table.rows, data.table.columns.len()), (7043, 19));
        let churn = data.target.values.iter().sum::<f64>() / 7043.0;
        assert!((churn - 0.2654).abs() < 0.01, "{churn}");
        let column = |name: &str| &data.table.columns[data.table.schema.position(name).unwrap()];
        let mean = |name: &str| {
            let present: Vec<f64> = column(name)
                .iter()
                .copied()
                .filter(|v| !v.is_nan())
                .collect();
            present.iter().sum::<f64>() / present.len() as f64
        };
        assert!((mean("tenure") - 32.4).abs() < 1.5, "{}", mean("tenure"));
        assert!(
            (mean("MonthlyCharges") - 64.8).abs() < 1.5,
            "{}",
            mean("MonthlyCharges")
        );
        assert!(
            (mean("TotalCharges") - 2283.0).abs() < 120.0,
            "{}",
            mean("TotalCharges")
        );
        for (total, tenure) in column("TotalCharges").iter().zip(column("tenure").iter()) {
            assert_eq!(total.is_nan(), *tenure == 0.0);
        }
        assert_eq!(
            column("TotalCharges").iter().filter(|v| v.is_nan()).count(),
            11
        );
    }
}
