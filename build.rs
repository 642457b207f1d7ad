//! Nothing is generated: `sqlx::migrate!` alone does not notice a changed or added `.sql` file.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
