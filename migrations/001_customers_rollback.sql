-- Rollback: 001_customers
-- Description: Removes the customers and the shop itself
-- Author: Ada Kern
-- Date: 2025-03-03

BEGIN;

DROP TABLE shop.customers;
-- Without CASCADE: whatever else lives in the schema by now stops this.
DROP SCHEMA shop;

COMMIT;
