//! Some customers and relations to look at, of three kinds: trainers with their clients, a dating site, companies.

use anyhow::Context;
use sqlx::{Connection, PgConnection};

use crate::db::{self, customer, customer_match};
use crate::domain::{CuRefNo, Email, Notice, Profile, ProfileText};

/// The customer to look at first.
pub(crate) const TRAINER: &str = "trainerPetra0001";
/// One of her clients.
pub(crate) const CLIENT: &str = "clientJakub00011";

/// Reference, first name, last name, company, and the domain of the e-mail address.
const CUSTOMERS: [(&str, &str, &str, &str, &str); 34] = [
    (TRAINER, "Petra", "Dvořáková", "", "fit.example"),
    ("trainerMarek0002", "Marek", "Horák", "", "fit.example"),
    ("trainerAlena0003", "Alena", "Šimková", "", "fit.example"),
    (CLIENT, "Jakub", "Novotný", "", "post.example"),
    ("clientLucie00012", "Lucie", "Procházková", "", "post.example"),
    ("clientTomas00013", "Tomáš", "Kučera", "", "post.example"),
    ("clientEliska0014", "Eliška", "Veselá", "", "post.example"),
    ("clientOndrej0015", "Ondřej", "Beneš", "", "post.example"),
    ("clientKaterina16", "Kateřina", "Fialová", "", "post.example"),
    ("clientDavid00017", "David", "Sedláček", "", "post.example"),
    ("clientTereza0018", "Tereza", "Pokorná", "", "post.example"),
    ("clientFilip00019", "Filip", "Marek", "", "post.example"),
    ("clientBarbora020", "Barbora", "Jelínková", "", "post.example"),
    ("clientVojtech021", "Vojtěch", "Růžička", "", "post.example"),
    ("clientAdela00022", "Adéla", "Kolářová", "", "post.example"),
    ("datingAmora00001", "", "", "Amora", "amora.example"),
    ("memberSofie00011", "Sofie", "Krejčí", "", "amora.example"),
    ("memberDaniel0012", "Daniel", "Hájek", "", "amora.example"),
    ("memberKlara00013", "Klára", "Vlčková", "", "amora.example"),
    ("memberMatej00014", "Matěj", "Bartoš", "", "amora.example"),
    ("memberNela000015", "Nela", "Říhová", "", "amora.example"),
    ("memberSimon00016", "Šimon", "Kopecký", "", "amora.example"),
    ("memberViktorie17", "Viktorie", "Tichá", "", "amora.example"),
    ("memberPatrik0018", "Patrik", "Zeman", "", "amora.example"),
    ("memberLaura00019", "Laura", "Malá", "", "amora.example"),
    ("companyLumen0001", "", "", "Lumen Energie a.s.", "lumen.example"),
    ("companyHvozd0002", "", "", "Hvozd s.r.o.", "hvozd.example"),
    ("companyKvarc0003", "", "", "Kvarc Instruments", "kvarc.example"),
    ("contactHana00011", "Hana", "Urbanová", "Lumen Energie a.s.", "lumen.example"),
    ("contactPavel0012", "Pavel", "Kadlec", "Lumen Energie a.s.", "lumen.example"),
    ("contactIrena0013", "Irena", "Doležalová", "Hvozd s.r.o.", "hvozd.example"),
    ("contactMilan0014", "Milan", "Vaněk", "Hvozd s.r.o.", "hvozd.example"),
    ("contactZuzana015", "Zuzana", "Bláhová", "Kvarc Instruments", "kvarc.example"),
    ("contactRadek0016", "Radek", "Šťastný", "Kvarc Instruments", "kvarc.example"),
];

/// Manager, customer, whether both are managers, notice. The oldest first.
const RELATIONS: [(&str, &str, bool, &str); 48] = [
    (TRAINER, CLIENT, false, "Prefers cardio. Knee injury in 2024, no jumps."),
    (TRAINER, "clientLucie00012", false, "Trains for a half marathon in May."),
    (TRAINER, "clientTomas00013", false, "Tuesdays and Fridays at seven."),
    (TRAINER, "clientEliska0014", false, ""),
    (TRAINER, "clientOndrej0015", false, "Contact obtained via the website."),
    (TRAINER, "clientKaterina16", false, "Paused until September."),
    (TRAINER, "clientDavid00017", false, "Asked for a meal plan."),
    ("trainerMarek0002", "clientDavid00017", false, "Strength on Wednesdays."),
    ("trainerMarek0002", "clientTereza0018", false, ""),
    ("trainerMarek0002", "clientFilip00019", false, "Ten lessons paid."),
    ("trainerMarek0002", "clientBarbora020", false, "Recommended by Filip."),
    ("trainerMarek0002", "clientTomas00013", false, "Boxing, once a month."),
    ("trainerAlena0003", "clientVojtech021", false, "Yoga at home."),
    ("trainerAlena0003", "clientAdela00022", false, ""),
    ("trainerAlena0003", "clientLucie00012", false, "Stretching after the long runs."),
    ("trainerAlena0003", "clientKaterina16", false, "Pilates during the pause."),
    (TRAINER, "trainerMarek0002", true, "They stand in for each other."),
    (TRAINER, "trainerAlena0003", false, "In training until the summer."),
    (CLIENT, "clientLucie00012", true, "Run together on Sundays."),
    ("clientFilip00019", "clientBarbora020", true, ""),
    ("datingAmora00001", "memberSofie00011", false, "Member since 2024."),
    ("datingAmora00001", "memberDaniel0012", false, "Member since 2023."),
    ("datingAmora00001", "memberKlara00013", false, "Verified."),
    ("datingAmora00001", "memberMatej00014", false, ""),
    ("datingAmora00001", "memberNela000015", false, "Verified."),
    ("datingAmora00001", "memberSimon00016", false, "Profile to be checked."),
    ("datingAmora00001", "memberViktorie17", false, ""),
    ("datingAmora00001", "memberPatrik0018", false, "Verified."),
    ("datingAmora00001", "memberLaura00019", false, ""),
    ("memberSofie00011", "memberDaniel0012", true, "Met at the theatre."),
    ("memberKlara00013", "memberMatej00014", true, "Both like climbing."),
    ("memberNela000015", "memberSimon00016", false, "She wrote first."),
    ("memberPatrik0018", "memberLaura00019", true, ""),
    ("memberDaniel0012", "memberViktorie17", false, "No answer yet."),
    ("memberSofie00011", "memberMatej00014", false, ""),
    ("companyLumen0001", "contactHana00011", false, "Purchasing."),
    ("companyLumen0001", "contactPavel0012", false, "Accounting. Call before noon."),
    ("companyHvozd0002", "contactIrena0013", false, "Managing director."),
    ("companyHvozd0002", "contactMilan0014", false, "Warehouse."),
    ("companyKvarc0003", "contactZuzana015", false, "Sales."),
    ("companyKvarc0003", "contactRadek0016", false, "Service."),
    ("companyHvozd0002", "companyLumen0001", false, "Supplies wood chips. Contract until 2027."),
    ("companyKvarc0003", "companyLumen0001", false, "Calibrates the meters each spring."),
    ("companyHvozd0002", "companyKvarc0003", true, "Share a hall in Zlín."),
    ("contactHana00011", "contactIrena0013", true, "Talk on Mondays."),
    ("contactPavel0012", "contactZuzana015", false, "Invoices go to Pavel."),
    (TRAINER, "contactHana00011", false, "Company fitness, paid by Lumen."),
    ("trainerMarek0002", "contactRadek0016", false, "Back exercises."),
];

/// Creates all of it at once, unless that has been done at an earlier start: what visitors have made of it since, stays.
pub(super) async fn create(db: &mut PgConnection, organisation_id: i64) -> anyhow::Result<()> {
    let mut transaction = db.begin().await?;
    for (cu_ref_no, first_name, last_name, company_name, domain) in CUSTOMERS {
        let local_part = cu_ref_no.trim_end_matches(|character: char| character.is_ascii_digit());
        let email = Email::parse(&format!("{local_part}@{domain}"))?;
        let profile = Profile {
            first_name: text(first_name)?,
            last_name: text(last_name)?,
            company_name: text(company_name)?,
            ..Profile::default()
        };
        let cu_ref_no = CuRefNo::parse(cu_ref_no)?;
        match customer::create(&mut *transaction, organisation_id, &cu_ref_no, Some(&email), &profile).await {
            Err(error) if db::violates(&error, customer::CU_REF_NO_KEY) => return Ok(()),
            result => result.with_context(|| format!("the sample customer {cu_ref_no} cannot be created"))?,
        }
    }
    for (age, (manager, customer, both, notice)) in RELATIONS.into_iter().rev().enumerate() {
        let (manager, customer) = (CuRefNo::parse(manager)?, CuRefNo::parse(customer)?);
        let hours = i32::try_from(age * 7)?;
        let notice = (!notice.is_empty()).then(|| Notice::parse(notice)).transpose()?;
        customer_match::create_sample(
            &mut transaction,
            organisation_id,
            (&manager, &customer),
            both,
            notice.as_ref(),
            hours,
        )
        .await?;
    }
    Ok(transaction.commit().await?)
}

fn text(text: &str) -> anyhow::Result<Option<ProfileText>> {
    Ok((!text.is_empty()).then(|| ProfileText::parse(text)).transpose()?)
}
